//! The configuration of `type: flannel`, as written and as parsed.
//! <https://github.com/flannel-io/cni-plugin#network-configuration-reference>

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::request::{Request, is_plugin_name};
use crate::types::Error;

/// Where flannel's daemon writes about this node's subnet.
pub const DEFAULT_SUBNET_FILE: &str = "/run/flannel/subnet.env";
/// The directory of the original plugin's saved configurations, which this plugin shares.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/cni/flannel";

/// The parsed configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Conf {
    /// The file of flannel's daemon.
    pub subnet_file: PathBuf,
    /// The directory of saved configurations.
    pub data_dir: PathBuf,
    /// What the delegate is to be configured with besides.
    pub delegate: Map<String, Value>,
    /// What its IPAM plugin is to be configured with besides.
    pub ipam: Map<String, Value>,
    /// What the runtime passes, for the delegate.
    pub runtime: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    subnet_file: String,
    data_dir: String,
    delegate: Map<String, Value>,
    ipam: Map<String, Value>,
    runtime_config: Option<Map<String, Value>>,
}

/// Reads and checks the configuration.
pub fn read(request: &Request) -> Result<Conf, Error> {
    let written: Written = request.config()?;
    if let Some(field) = ["name", "ipam"]
        .into_iter()
        .find(|field| written.delegate.contains_key(*field))
    {
        return Err(Error::invalid(format!(
            "delegate.{field} is set by flannel; remove it, or use {field} of the network"
        )));
    }
    for (field, value) in [
        ("delegate.type", written.delegate.get("type")),
        ("ipam.type", written.ipam.get("type")),
    ] {
        if value.is_some_and(|value| !value.as_str().is_some_and(is_plugin_name)) {
            return Err(Error::invalid(format!("{field} must be the name of a plugin")));
        }
    }
    let or = |written: String, default: &str| {
        PathBuf::from(if written.is_empty() {
            default.to_string()
        } else {
            written
        })
    };
    Ok(Conf {
        subnet_file: or(written.subnet_file, DEFAULT_SUBNET_FILE),
        data_dir: or(written.data_dir, DEFAULT_DATA_DIR),
        delegate: written.delegate,
        ipam: written.ipam,
        runtime: written.runtime_config.map(Value::Object),
    })
}
