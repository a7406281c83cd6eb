//! The validated request: later stages never see an id, a name or a path that could lead outside its place.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use crate::types::{CniResult, Code, Error, Version};

/// What a call refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// One interface of a pod.
    Pod,
    /// One interface of a pod whose namespace may be gone.
    PodPerhapsGone,
    /// The network as a whole.
    Network,
}

/// The request for one attachment (one interface of one pod).
#[derive(Debug, Clone)]
pub struct Request {
    /// The protocol version of the configuration, and so of the result.
    pub version: Version,
    /// The network's name: validated, safe as a file name.
    pub network: String,
    /// Validated, safe as part of a text file.
    pub container_id: String,
    /// Validated as an interface name.
    pub ifname: String,
    /// The path of the pod's namespace; `None` if DEL was called without one.
    pub netns: Option<PathBuf>,
    /// `CNI_ARGS` as key and value.
    pub args: BTreeMap<String, String>,
    /// The directories of other plugins.
    pub path: Vec<PathBuf>,
    /// The whole configuration, from which the plugin reads its keys.
    pub config: Value,
    /// The original text of the configuration, for another plugin.
    pub input: String,
    /// Parts of the configuration that have no effect here, for the runtime's log.
    pub notes: RefCell<Vec<String>>,
}

impl Request {
    /// Deserializes the plugin's own part of the configuration.
    pub fn config<T: for<'de> Deserialize<'de>>(&self) -> Result<T, Error> {
        serde_path_to_error::deserialize(&self.config).map_err(|error| {
            let msg = format!("network {}: {}: {}", self.network, error.path(), error.inner());
            Error::new(Code::Decode, msg)
        })
    }

    /// Notes that a part of the configuration has no effect here.
    pub fn note(&self, words: impl Into<String>) {
        self.notes.borrow_mut().push(words.into());
    }

    /// The result of the previous plugins in the list.
    pub fn previous_result(&self) -> Result<Option<CniResult>, Error> {
        match self.config.get("prevResult") {
            None | Some(Value::Null) => Ok(None),
            Some(value) => CniResult::from_json(value, "prevResult").map(Some),
        }
    }

    /// The result of the previous plugins, as a value to be passed on in this call's version and as read, for a plugin
    /// that only runs after another one.
    pub fn chained(&self, plugin: &str) -> Result<(Value, CniResult), Error> {
        let missing = || {
            Error::invalid(format!(
                "prevResult is missing: {plugin} must run in a plugin list, after the plugin that connects the pod"
            ))
        };
        let result = self.previous_result()?.ok_or_else(missing)?;
        let mut value = self.config.get("prevResult").cloned().ok_or_else(missing)?;
        value["cniVersion"] = self.version.as_str().into();
        Ok((value, result))
    }

    /// The namespace's path, for operations that require it.
    pub fn netns(&self) -> Result<&PathBuf, Error> {
        self.netns
            .as_ref()
            .ok_or_else(|| Error::new(Code::InvalidEnvironment, "CNI_NETNS is not set"))
    }

    /// The name of this attachment in records that several attachments share.
    pub fn attachment(&self) -> String {
        format!("{} {} {}", self.network, self.container_id, self.ifname)
    }
}

/// An attachment that GC must not touch (`cni.dev/valid-attachments`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Attachment {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// Its interface.
    pub ifname: String,
}

/// Reads and validates the environment and the keys of `config` that all plugins share.
pub fn read_request(
    subject: Subject,
    env: &dyn Fn(&str) -> Option<String>,
    input: String,
    config: Value,
    version: Version,
) -> Result<Request, Error> {
    let variable = |name: &str| env(name).filter(|value| !value.is_empty());
    check_present(subject, &variable)?;
    let network = config
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_string();
    let container_id = variable("CNI_CONTAINERID").unwrap_or_default();
    let ifname = variable("CNI_IFNAME").unwrap_or_default();
    check_names(subject, &network, &container_id, &ifname)?;
    Ok(Request {
        version,
        network,
        container_id,
        ifname,
        netns: variable("CNI_NETNS").map(PathBuf::from),
        args: read_args(&variable("CNI_ARGS").unwrap_or_default())?,
        path: std::env::split_paths(&variable("CNI_PATH").unwrap_or_default()).collect(),
        config,
        input,
        notes: RefCell::default(),
    })
}

/// Whether the environment has everything that the call is about.
fn check_present(subject: Subject, variable: &dyn Fn(&str) -> Option<String>) -> Result<(), Error> {
    let mut missing: Vec<&str> = Vec::new();
    if subject != Subject::Network {
        missing.extend(
            ["CNI_CONTAINERID", "CNI_IFNAME"]
                .into_iter()
                .filter(|name| variable(name).is_none()),
        );
        if subject == Subject::Pod && variable("CNI_NETNS").is_none() {
            missing.push("CNI_NETNS");
        }
    }
    if !missing.is_empty() {
        let msg = format!("environment variables are not set: {}", missing.join(", "));
        return Err(Error::new(Code::InvalidEnvironment, msg));
    }
    Ok(())
}

fn check_names(subject: Subject, network: &str, container_id: &str, ifname: &str) -> Result<(), Error> {
    if !is_name(network) {
        let msg = format!(
            "invalid network name {network:?}: it must begin with a letter or digit and contain only letters, \
             digits, '.', '_' and '-'"
        );
        return Err(Error::invalid(msg));
    }
    if subject != Subject::Network && !is_name(container_id) {
        let msg = format!(
            "invalid CNI_CONTAINERID {container_id:?}: it must begin with a letter or digit and contain only \
             letters, digits, '.', '_' and '-'"
        );
        return Err(Error::new(Code::InvalidEnvironment, msg));
    }
    if subject != Subject::Network
        && let Err(reason) = check_interface_name(ifname)
    {
        return Err(Error::new(
            Code::InvalidEnvironment,
            format!("invalid CNI_IFNAME {ifname:?}: it {reason}"),
        ));
    }
    Ok(())
}

/// Whether `name` is valid for a plugin: with a separator, or as a parent directory, it would lead to a program outside
/// of the plugins' directories (CVE-2021-20206).
pub fn is_plugin_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0'])
}

/// The specification's rule for network names and container IDs. It allows no slash and no leading dot, so such a name
/// never leads out of a directory. The maximum length is that of a file name.
pub fn is_name(name: &str) -> bool {
    let ordinary = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.len() <= 255 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.bytes().all(ordinary)
}

/// Checks the kernel's rules for interface names (`dev_valid_name` in net/core/dev.c).
pub fn check_interface_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 15 {
        return Err("must have 1 to 15 characters");
    }
    if name == "."
        || name == ".."
        || name
            .chars()
            .any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
    {
        return Err("must not be . or .. and must not contain /, : or whitespace");
    }
    Ok(())
}

fn read_args(written: &str) -> Result<BTreeMap<String, String>, Error> {
    let pairs = written.split(';').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) => Ok((key.to_string(), value.to_string())),
            None => Err(Error::new(
                Code::InvalidEnvironment,
                format!("invalid CNI_ARGS: {pair:?} is not of the form KEY=VALUE (pairs are separated by ;)"),
            )),
        })
        .collect()
}

/// A call for a pod, with this configuration and no arguments.
#[cfg(test)]
pub(crate) fn sample(config: Value) -> Request {
    Request {
        version: crate::types::Version::V1_0_0,
        network: "net".into(),
        container_id: "c".into(),
        ifname: "eth0".into(),
        netns: None,
        args: Default::default(),
        path: Vec::new(),
        config,
        input: String::new(),
        notes: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_lead_out_of_a_directory() {
        for bad in [
            "", ".", "..", "../x", "a/b", "/x", ".hidden", "a b", "-x", "a\nb", "ä",
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
        for good in ["a", "cbr0", "k8s-pod-network", "a.b_c", "0123456789abcdef"] {
            assert!(is_name(good), "{good:?}");
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "sixteen-letters!"] {
            assert!(check_interface_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_interface_name("fifteen-letters").is_ok());
    }
}
