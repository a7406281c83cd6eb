//! The skeleton of a plugin run: turns environment and stdin into a [`Request`], and the plugin's result into text and
//! an exit code. Nothing here prints; `main` does.

use std::io::Read;

use serde_json::{Value, json};

use crate::keys;
use crate::request::{Attachment, Request, Subject, read_request};
use crate::types::{Code, Error, Version};

/// The plugins in this binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    /// Sets `lo` up.
    Loopback,
    /// A veth into a bridge on the host.
    Bridge,
    /// Addresses from ranges, recorded on the node.
    HostLocal,
    /// Forwards ports of the host.
    Portmap,
    /// Calls another plugin with the subnet that flannel gave the node.
    Flannel,
    /// Limits the bandwidth of a pod.
    Bandwidth,
    /// Lets packets of pods through the host's firewall, or keeps bridges apart.
    Firewall,
}

impl Plugin {
    /// All of them.
    pub const ALL: [Plugin; 7] = [
        Plugin::Loopback,
        Plugin::Bridge,
        Plugin::HostLocal,
        Plugin::Portmap,
        Plugin::Flannel,
        Plugin::Bandwidth,
        Plugin::Firewall,
    ];

    /// The `type` in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Plugin::Loopback => "loopback",
            Plugin::Bridge => "bridge",
            Plugin::HostLocal => "host-local",
            Plugin::Portmap => "portmap",
            Plugin::Flannel => "flannel",
            Plugin::Bandwidth => "bandwidth",
            Plugin::Firewall => "firewall",
        }
    }

    /// The plugin called `name`.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plugin| plugin.name() == name)
    }
}

/// The maximum size of a configuration. A pod that forwards every port needs a third of it.
const MAX_INPUT: u64 = 16 << 20;

/// The output and the exit code of the binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// For stdout: the result or the error object.
    pub stdout: String,
    /// For stderr.
    pub stderr: String,
    /// Zero only on success.
    pub exit: u8,
}

/// Runs `plugin` with the environment and input of a runtime's call.
pub fn run(plugin: Plugin, env: &dyn Fn(&str) -> Option<String>, stdin: &mut dyn Read) -> Output {
    if env("CNI_COMMAND").is_none_or(|command| command.is_empty()) {
        return Output {
            stdout: String::new(),
            stderr: about(plugin),
            exit: 0,
        };
    }
    let mut version = Version::V1_0_0;
    let mut notes = String::new();
    let answer = dispatch(plugin, env, stdin, &mut version, &mut notes);
    let (stdout, exit) = match answer {
        Ok(None) => (String::new(), 0),
        Ok(Some(value)) => (format!("{value}\n"), 0),
        Err(error) => (format!("{}\n", error.to_json(version)), 1),
    };
    Output {
        stdout,
        stderr: notes,
        exit,
    }
}

fn about(plugin: Plugin) -> String {
    let versions: Vec<_> = Version::ALL.iter().map(|version| version.as_str()).collect();
    format!(
        "gantry-cni {} (plugin {})\nCNI protocol versions supported: {}\n",
        env!("CARGO_PKG_VERSION"),
        plugin.name(),
        versions.join(", ")
    )
}

fn dispatch(
    plugin: Plugin,
    env: &dyn Fn(&str) -> Option<String>,
    stdin: &mut dyn Read,
    version: &mut Version,
    notes: &mut String,
) -> Result<Option<Value>, Error> {
    let command = Command::parse(&env("CNI_COMMAND").unwrap_or_default())?;
    let mut input = String::new();
    let read = stdin.take(MAX_INPUT + 1).read_to_string(&mut input);
    if command == Command::Version {
        return Ok(Some(version_answer(&input)));
    }
    read.map_err(|error| {
        Error::new(
            Code::Io,
            format!("cannot read the network configuration from stdin: {error}"),
        )
    })?;
    let request = parse(env, command.subject(), input, |found| {
        *version = found;
        command.is_known_to(found)
    })?;
    let answer = answer(plugin, command, &request);
    if command == Command::Add {
        notes.extend(
            request
                .notes
                .take()
                .iter()
                .map(|note| format!("{}: {note}\n", plugin.name())),
        );
    }
    answer
}

/// Parses the request from the environment and the text of the configuration. `allow` is called with the version as
/// soon as it is known. Also usable without a CNI call: this function has no side effects.
pub fn parse(
    env: &dyn Fn(&str) -> Option<String>,
    subject: Subject,
    input: String,
    allow: impl FnOnce(Version) -> Result<(), Error>,
) -> Result<Request, Error> {
    if input.len() as u64 > MAX_INPUT {
        let msg = format!("the network configuration on stdin has more than {MAX_INPUT} bytes");
        return Err(Error::new(Code::Decode, msg));
    }
    let mut config: Value = serde_json::from_str(&input).map_err(|error| {
        Error::new(
            Code::Decode,
            format!("the network configuration on stdin is not valid JSON: {error}"),
        )
    })?;
    keys::normalize(&mut config);
    let version = config_version(&config)?;
    allow(version)?;
    read_request(subject, env, input, config, version)
}

fn answer(plugin: Plugin, command: Command, request: &Request) -> Result<Option<Value>, Error> {
    match command {
        Command::Add => add(plugin, request).map(Some),
        Command::Del => del(plugin, request).map(|()| None),
        Command::Check => check(plugin, request).map(|()| None),
        Command::Status => status(plugin, request).map(|()| None),
        Command::Gc => collect_garbage(plugin, request).map(|()| None),
        Command::Version => Ok(None),
    }
}

fn add(plugin: Plugin, request: &Request) -> Result<Value, Error> {
    match plugin {
        Plugin::Loopback => crate::loopback::add(request),
        Plugin::Bridge => crate::bridge::add(request),
        Plugin::HostLocal => crate::host_local::add(request).map(|result| result.to_json(request.version)),
        Plugin::Portmap => crate::portmap::add(request),
        Plugin::Flannel => crate::flannel::add(request),
        Plugin::Bandwidth => crate::bandwidth::add(request),
        Plugin::Firewall => crate::firewall::add(request),
    }
}

fn del(plugin: Plugin, request: &Request) -> Result<(), Error> {
    match plugin {
        Plugin::Loopback => crate::loopback::del(request),
        Plugin::Bridge => crate::bridge::del(request),
        Plugin::HostLocal => crate::host_local::del(request),
        Plugin::Portmap => crate::portmap::del(request),
        Plugin::Flannel => crate::flannel::del(request),
        Plugin::Bandwidth => crate::bandwidth::del(request),
        Plugin::Firewall => crate::firewall::del(request),
    }
}

fn check(plugin: Plugin, request: &Request) -> Result<(), Error> {
    match plugin {
        Plugin::Loopback => crate::loopback::check(request),
        Plugin::Bridge => crate::bridge::check(request),
        Plugin::HostLocal => crate::host_local::check(request),
        Plugin::Portmap => crate::portmap::check(request),
        Plugin::Flannel => crate::flannel::check(request),
        Plugin::Bandwidth => crate::bandwidth::check(request),
        Plugin::Firewall => crate::firewall::check(request),
    }
}

fn status(plugin: Plugin, request: &Request) -> Result<(), Error> {
    match plugin {
        Plugin::Loopback => Ok(()),
        Plugin::Bridge => crate::bridge::status(request),
        Plugin::HostLocal => crate::host_local::status(request),
        Plugin::Portmap => crate::portmap::status(request),
        Plugin::Flannel => crate::flannel::status(request),
        Plugin::Bandwidth => crate::bandwidth::status(request),
        Plugin::Firewall => crate::firewall::status(request),
    }
}

fn collect_garbage(plugin: Plugin, request: &Request) -> Result<(), Error> {
    let field = "cni.dev/valid-attachments";
    let valid = request.config.get(field).cloned().unwrap_or_else(|| json!([]));
    let valid: Vec<Attachment> = serde_json::from_value(valid)
        .map_err(|error| Error::new(Code::Decode, format!("{field}: {error}")))?;
    match plugin {
        Plugin::Loopback => Ok(()),
        Plugin::Bridge => crate::bridge::collect_garbage(request, &valid),
        Plugin::HostLocal => crate::host_local::collect_garbage(request, &valid),
        Plugin::Portmap => crate::portmap::collect_garbage(request, &valid),
        Plugin::Flannel => crate::flannel::collect_garbage(request, &valid),
        Plugin::Bandwidth => crate::bandwidth::collect_garbage(request, &valid),
        Plugin::Firewall => crate::firewall::collect_garbage(request, &valid),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Add,
    Del,
    Check,
    Status,
    Gc,
    Version,
}

impl Command {
    fn parse(written: &str) -> Result<Self, Error> {
        match written {
            "ADD" => Ok(Command::Add),
            "DEL" => Ok(Command::Del),
            "CHECK" => Ok(Command::Check),
            "STATUS" => Ok(Command::Status),
            "GC" => Ok(Command::Gc),
            "VERSION" => Ok(Command::Version),
            other => Err(Error::new(
                Code::InvalidEnvironment,
                format!("invalid CNI_COMMAND {other:?}; it must be ADD, DEL, CHECK, STATUS, GC or VERSION"),
            )),
        }
    }

    fn is_known_to(self, version: Version) -> Result<(), Error> {
        if version >= self.since() {
            return Ok(());
        }
        let msg = format!(
            "cniVersion {} does not support {self:?}, which was added in {}",
            version.as_str(),
            self.since().as_str()
        );
        Err(Error::new(Code::IncompatibleVersion, msg))
    }

    fn since(self) -> Version {
        match self {
            Command::Add | Command::Del | Command::Version => Version::V0_3_0,
            Command::Check => Version::V0_4_0,
            Command::Status | Command::Gc => Version::V1_1_0,
        }
    }

    /// What the call refers to, and so which variables it requires.
    fn subject(self) -> Subject {
        match self {
            Command::Add | Command::Check => Subject::Pod,
            Command::Del => Subject::PodPerhapsGone,
            Command::Status | Command::Gc | Command::Version => Subject::Network,
        }
    }
}

/// The answer repeats the version of the request, if it has one ("VERSION" in the specification).
fn version_answer(input: &str) -> Value {
    let asked = serde_json::from_str::<Value>(input).ok();
    let asked = asked
        .as_ref()
        .and_then(|config| config.get("cniVersion"))
        .and_then(Value::as_str);
    let supported: Vec<_> = Version::ALL.iter().map(|version| version.as_str()).collect();
    json!({ "cniVersion": asked.unwrap_or(Version::V1_1_0.as_str()), "supportedVersions": supported })
}

fn config_version(config: &Value) -> Result<Version, Error> {
    let supported = Version::ALL.map(Version::as_str).join(", ");
    let Some(written) = config.get("cniVersion").and_then(Value::as_str) else {
        let msg = format!("cniVersion is missing, which means 0.1.0; set it to one of {supported}");
        return Err(Error::new(Code::IncompatibleVersion, msg));
    };
    Version::parse(written).ok_or_else(|| {
        let msg = format!("cniVersion {written:?} is not supported; set it to one of {supported}");
        Error::new(Code::IncompatibleVersion, msg)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(command: &str, input: &str, variables: &[(&str, &str)]) -> (u8, Value, String) {
        let env = |name: &str| match name {
            "CNI_COMMAND" => Some(command.to_string()),
            _ => variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_string()),
        };
        let output = run(Plugin::HostLocal, &env, &mut input.as_bytes());
        (
            output.exit,
            serde_json::from_str(&output.stdout).unwrap_or_default(),
            output.stderr,
        )
    }

    #[test]
    fn version_repeats_the_version_it_was_asked_in() {
        let (exit, answer, _) = call("VERSION", r#"{"cniVersion": "0.4.0"}"#, &[]);
        assert_eq!((exit, answer["cniVersion"].as_str()), (0, Some("0.4.0")));
        let (exit, answer, _) = call("VERSION", "", &[]);
        assert_eq!((exit, answer["cniVersion"].as_str()), (0, Some("1.1.0")));
        assert_eq!(answer["supportedVersions"].as_array().unwrap().len(), 5);
    }

    #[test]
    fn without_a_command_it_says_what_it_is() {
        let (exit, answer, words) = call("", "", &[]);
        assert_eq!((exit, answer), (0, Value::Null));
        assert!(words.contains("host-local") && words.contains("1.0.0"));
    }

    #[test]
    fn an_error_is_an_object_in_the_version_of_the_call() {
        let (exit, answer, _) = call("ADD", r#"{"cniVersion": "0.3.1", "name": "n"}"#, &[]);
        assert_eq!(
            (exit, answer["cniVersion"].as_str(), answer["code"].as_u64()),
            (1, Some("0.3.1"), Some(4))
        );
    }

    #[test]
    fn add_and_del_give_and_take_an_address() {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({
            "cniVersion": "1.0.0", "name": "n", "args": null, "type": "bridge",
            "ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "dataDir": dir.path(), "routes": null},
        });
        let variables = [
            ("CNI_CONTAINERID", "c"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", "/unused"),
        ];
        let (exit, answer, _) = call("ADD", &config.to_string(), &variables);
        assert_eq!(
            (exit, answer["ips"][0]["address"].as_str()),
            (0, Some("10.1.0.2/24")),
            "{answer}"
        );
        assert_eq!(call("CHECK", &config.to_string(), &variables).0, 0);
        assert_eq!(call("DEL", &config.to_string(), &variables).0, 0);
        assert_eq!(call("DEL", &config.to_string(), &variables).0, 0);
        assert_eq!(call("CHECK", &config.to_string(), &variables).1["code"], 3);
    }
}
