//! The types of the CNI protocol: versions, errors, results, and the configuration keys that all plugins share.
//! <https://github.com/containernetworking/cni/blob/main/SPEC.md>

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A version of the protocol. Ordered by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The first with plugin lists.
    V0_3_0,
    /// 0.3.0 with a corrected specification.
    V0_3_1,
    /// Added CHECK and `prevResult` on DEL.
    V0_4_0,
    /// Removed the `version` of an address.
    V1_0_0,
    /// Added STATUS and GC.
    V1_1_0,
}

impl Version {
    /// All supported versions, oldest first.
    pub const ALL: [Version; 5] = [
        Version::V0_3_0,
        Version::V0_3_1,
        Version::V0_4_0,
        Version::V1_0_0,
        Version::V1_1_0,
    ];

    /// Parses the value of `cniVersion`.
    pub fn parse(written: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == written)
    }

    /// The value of `cniVersion`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V0_3_0 => "0.3.0",
            Version::V0_3_1 => "0.3.1",
            Version::V0_4_0 => "0.4.0",
            Version::V1_0_0 => "1.0.0",
            Version::V1_1_0 => "1.1.0",
        }
    }
}

/// Error codes: below 100 the specification's ("Error" section), from 100 on gantry's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The `cniVersion` is not supported.
    IncompatibleVersion,
    /// A field requests something that is not supported.
    UnsupportedField,
    /// The attachment for CHECK does not exist.
    UnknownContainer,
    /// `CNI_*` variables are missing or wrong.
    InvalidEnvironment,
    /// Reading the request or a file failed.
    Io,
    /// The request is not JSON of the expected shape.
    Decode,
    /// The configuration is contradictory or impossible.
    InvalidConfig,
    /// The namespace cannot be used (the number the Go library gives it).
    InvalidNetns,
    /// A retry may succeed, for example when a range is full for now.
    TryAgainLater,
    /// STATUS found that an ADD would fail.
    NotAvailable,
    /// The kernel rejected a request.
    Kernel,
    /// CHECK found a difference from the result of ADD.
    Changed,
}

impl Code {
    /// The number of the code.
    pub fn number(self) -> u32 {
        match self {
            Code::IncompatibleVersion => 1,
            Code::UnsupportedField => 2,
            Code::UnknownContainer => 3,
            Code::InvalidEnvironment => 4,
            Code::Io => 5,
            Code::Decode => 6,
            Code::InvalidConfig => 7,
            Code::InvalidNetns => 8,
            Code::TryAgainLater => 11,
            Code::NotAvailable => 50,
            Code::Kernel => 100,
            Code::Changed => 101,
        }
    }
}

/// An error in the form for the runtime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// The kind of error.
    pub code: Code,
    /// One sentence: the field or object, what is wrong, and the remedy.
    pub msg: String,
    /// Details for debugging; may be empty.
    pub details: String,
}

impl Error {
    /// An error without details.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Error {
            code,
            msg: msg.into(),
            details: String::new(),
        }
    }

    /// An invalid value of a field.
    pub fn invalid(msg: impl Into<String>) -> Self {
        Error::new(Code::InvalidConfig, msg)
    }

    /// A field that requests something unsupported.
    pub fn unsupported(field: &str, remedy: &str) -> Self {
        Error::new(
            Code::UnsupportedField,
            format!("{field} is not supported: {remedy}"),
        )
    }

    /// A difference found by CHECK.
    pub fn changed(msg: impl Into<String>) -> Self {
        Error::new(Code::Changed, msg)
    }

    /// The object for stdout.
    pub fn to_json(&self, version: Version) -> Value {
        let mut object =
            json!({ "cniVersion": version.as_str(), "code": self.code.number(), "msg": self.msg });
        if !self.details.is_empty() {
            object["details"] = json!(self.details);
        }
        object
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.details.is_empty() {
            f.write_str(&self.msg)
        } else {
            write!(f, "{}; {}", self.msg, self.details)
        }
    }
}

/// Converts an error of another module into one for the runtime.
macro_rules! error_from {
    ($from:ty, $code:expr) => {
        impl From<$from> for Error {
            fn from(error: $from) -> Self {
                Error::new($code, error.to_string())
            }
        }
    };
}

error_from!(crate::netlink::socket::NetlinkError, Code::Kernel);
error_from!(crate::netns::NetnsError, Code::InvalidNetns);
error_from!(crate::sysctl::SysctlError, Code::Kernel);

/// Name servers and search list, passed on as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses of name servers, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Domains to try for short names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of the resolver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Whether all of its fields are empty.
    pub fn is_empty(&self) -> bool {
        *self == Dns::default()
    }
}

/// An interface of a result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Its MTU; protocol 1.1.0 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The path of the namespace it is in; empty for the host's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
}

/// An address of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// Index in the result's interfaces. Some runtimes write -1 for "none".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<i64>,
    /// The address with its network's prefix.
    pub address: IpNet,
    /// The gateway of the network.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "empty_is_none"
    )]
    pub gateway: Option<IpAddr>,
}

/// A route of a result or of an IPAM configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteConfig {
    /// Its destination.
    pub dst: IpNet,
    /// The next hop; the address's gateway if absent.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "empty_is_none"
    )]
    pub gw: Option<IpAddr>,
    /// The largest packet along it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The largest TCP segment to advertise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// Its metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Its table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// Its scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

/// Go writes an absent address as `""` in some places.
pub(crate) fn empty_is_none<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<IpAddr>, D::Error> {
    match Option::<String>::deserialize(source)? {
        Some(written) if !written.is_empty() => written.parse().map(Some).map_err(serde::de::Error::custom),
        _ => Ok(None),
    }
}

/// The result of ADD ("ADD Success" in the specification).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CniResult {
    /// The created interfaces.
    pub interfaces: Vec<Interface>,
    /// The allocated addresses.
    pub ips: Vec<IpConfig>,
    /// The added routes.
    pub routes: Vec<RouteConfig>,
    /// Resolver settings for the pod.
    pub dns: Dns,
}

impl CniResult {
    /// Parses a result of any supported version; they differ only by keys that are not needed here.
    pub fn from_json(value: &Value, field: &str) -> Result<Self, Error> {
        Self::deserialize(value)
            .map_err(|error| Error::new(Code::Decode, format!("{field} is not a CNI result: {error}")))
    }

    /// The object for stdout, in the runtime's version.
    pub fn to_json(&self, version: Version) -> Value {
        let mut object = json!({ "cniVersion": version.as_str(), "dns": self.dns });
        if !self.interfaces.is_empty() {
            let mut interfaces = self.interfaces.clone();
            if version < Version::V1_1_0 {
                interfaces.iter_mut().for_each(|interface| interface.mtu = None);
            }
            object["interfaces"] = json!(interfaces);
        }
        if !self.ips.is_empty() {
            object["ips"] = self.ips.iter().map(|ip| address_json(ip, version)).collect();
        }
        if !self.routes.is_empty() {
            object["routes"] = json!(self.routes);
        }
        object
    }
}

/// Before 1.0.0, an address contained its IP version, `"4"` or `"6"`.
fn address_json(ip: &IpConfig, version: Version) -> Value {
    let mut object = json!(ip);
    if version < Version::V1_0_0 {
        object["version"] = json!(if ip.address.addr().is_ipv4() { "4" } else { "6" });
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> CniResult {
        CniResult {
            interfaces: vec![Interface {
                name: "eth0".into(),
                mtu: Some(1500),
                ..Interface::default()
            }],
            ips: vec![IpConfig {
                interface: Some(0),
                address: "10.1.0.2/24".parse().unwrap(),
                gateway: None,
            }],
            ..CniResult::default()
        }
    }

    #[test]
    fn a_result_is_written_as_its_version_wants_it() {
        let old = sample().to_json(Version::V0_4_0);
        assert_eq!(old["ips"][0]["version"], "4");
        assert!(old["interfaces"][0].get("mtu").is_none());
        let new = sample().to_json(Version::V1_1_0);
        assert!(new["ips"][0].get("version").is_none());
        assert_eq!(new["interfaces"][0]["mtu"], 1500);
    }

    #[test]
    fn a_result_of_any_version_is_read_back() {
        for version in Version::ALL {
            let back = CniResult::from_json(&sample().to_json(version), "prevResult").unwrap();
            assert_eq!(back.ips, sample().ips);
        }
    }

    #[test]
    fn versions_are_known_by_their_text() {
        assert_eq!(Version::parse("1.0.0"), Some(Version::V1_0_0));
        assert_eq!(Version::parse("0.2.0"), None);
        assert_eq!(Version::parse("2.0.0"), None);
    }
}
