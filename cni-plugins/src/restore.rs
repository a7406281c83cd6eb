//! Makes the rules of connected pods again when another program has flushed them (`nft flush ruleset`, a firewall that
//! starts), and connects them to their bridge again when that was removed. Which pods there are, and how they were connected,
//! is in the records that runtimes keep of each attachment (libcni/api.go `cachedInfo`), until they have disconnected it. Called
//! by the agent, by no plugin.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::netlink::link;
use crate::netlink::socket::Socket;
use crate::request::{Request, Subject};
use crate::types::{CniResult, Error};
use crate::{bridge, firewall, flannel, portmap, skel};

/// Where libcni keeps its records, unless the runtime says otherwise.
pub const RECORDS: &str = "/var/lib/cni/results";
/// What is longer is no record of a pod.
const LONGEST: u64 = 32 << 20;

/// A record, as far as it is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Record {
    container_id: String,
    if_name: String,
    network_name: String,
    /// The network's configuration, in base64.
    config: String,
    capability_args: Map<String, Value>,
    result: Value,
}

/// Whether a pod of a network in `records` is connected to this host: a link of the host's is there that ADD has reported
/// beside the bridge. A record alone says nothing: it outlives a reboot.
pub fn has_pods(records: &Path, network: &str, bridge: &str) -> io::Result<bool> {
    let mut socket = Socket::route().map_err(io::Error::other)?;
    for entry in fs::read_dir(records)? {
        let record = read(&entry?.path()).filter(|record| record.network_name == network);
        let result = record.and_then(|record| CniResult::from_json(&record.result, "result").ok());
        let interfaces = result.into_iter().flat_map(|result| result.interfaces);
        for own in interfaces.filter(|own| own.sandbox.is_empty() && own.name != bridge) {
            if link::by_name(&mut socket, &own.name)
                .map_err(io::Error::other)?
                .is_some()
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Makes the rules of the pods of a network in `records` again (forwarded ports, masquerading, what `firewall` does), and their
/// bridge with its address and its ports. What is there is left as it is, and a port that another pod has meanwhile stays that
/// pod's. Returns why some could not be made, by their records; the others were.
pub fn restore(records: &Path, network: &str) -> io::Result<Vec<(PathBuf, Error)>> {
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(records)? {
        let entry = entry?;
        found.push((entry.metadata()?.modified()?, entry.path()));
    }
    // The latest first: of two records with the same port, it is the one whose pod is alive.
    found.sort();
    let mut failures = Vec::new();
    for (_, path) in found.into_iter().rev() {
        // What other networks need, their own plugins know.
        let Some(record) = read(&path).filter(|record| record.network_name == network) else {
            continue;
        };
        for failure in restore_one(&record) {
            failures.push((path.clone(), failure));
        }
    }
    Ok(failures)
}

/// A record that cannot be read is of a runtime that was killed while it wrote it; there is no pod then.
fn read(path: &Path) -> Option<Record> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST).read_to_end(&mut bytes))
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// All plugins of one attachment, in their order.
fn restore_one(record: &Record) -> Vec<Error> {
    let mut failures = Vec::new();
    for mut config in plugins(record) {
        config["prevResult"] = record.result.clone();
        let kind = config["type"].as_str().unwrap_or_default().to_string();
        let restored = request(record, &config).and_then(|request| match kind.as_str() {
            "bridge" => bridge::restore(&request),
            "flannel" => flannel::restore(&request),
            "portmap" => portmap::restore(&request),
            "firewall" => firewall::add(&request).map(drop),
            _ => Ok(()),
        });
        failures.extend(restored.err());
    }
    failures
}

/// The configurations that the plugins of the network were called with, of which those that are not ours are of no concern:
/// the same names are.
fn plugins(record: &Record) -> Vec<Value> {
    let config = STANDARD.decode(&record.config).ok();
    let config: Option<Value> = config.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(network) = config.filter(Value::is_object) else {
        return Vec::new();
    };
    let plugins = match network.get("plugins").and_then(Value::as_array) {
        Some(plugins) => plugins.clone(),
        None => vec![network.clone()],
    };
    let complete = |mut plugin: Value| {
        plugin["name"] = json!(record.network_name);
        plugin["cniVersion"] = network.get("cniVersion").cloned().unwrap_or_default();
        plugin["runtimeConfig"] = capabilities(record, &plugin).into();
        plugin
    };
    plugins
        .into_iter()
        .filter(Value::is_object)
        .map(complete)
        .collect()
}

/// What the runtime passed for the capabilities that the plugin has (libcni/api.go `injectRuntimeConfig`).
fn capabilities(record: &Record, plugin: &Value) -> Map<String, Value> {
    let has = |name: &str| plugin["capabilities"][name] == json!(true);
    let args = record.capability_args.iter();
    args.filter(|(name, _)| has(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn request(record: &Record, config: &Value) -> Result<Request, Error> {
    let env = |name: &str| match name {
        "CNI_CONTAINERID" => Some(record.container_id.clone()),
        "CNI_IFNAME" => Some(record.if_name.clone()),
        _ => None,
    };
    skel::parse(&env, Subject::PodPerhapsGone, config.to_string(), |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_gets_what_the_runtime_passed_for_its_capabilities() {
        let network = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
            {"type": "bridge"}, {"type": "portmap", "capabilities": {"portMappings": true, "mac": false}}, 5]});
        let record = Record {
            network_name: "net".into(),
            config: STANDARD.encode(network.to_string()),
            capability_args: json!({"portMappings": [1], "mac": "x", "other": 2})
                .as_object()
                .unwrap()
                .clone(),
            ..Record::default()
        };
        let plugins = plugins(&record);
        let passed: Vec<_> = plugins.iter().map(|plugin| &plugin["runtimeConfig"]).collect();
        assert_eq!(passed, [&json!({}), &json!({"portMappings": [1]})]);
        assert_eq!(
            (&plugins[1]["name"], &plugins[1]["cniVersion"]),
            (&json!("net"), &json!("1.0.0"))
        );
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("empty", ""),
            ("list", "[]"),
            ("number", r#"{"config": 5}"#),
            ("broken", r#"{"config": "!"}"#),
            ("other", r#"{"config": "NQ=="}"#),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        assert!(restore(dir.path(), "").unwrap().is_empty());
        assert!(restore(&dir.path().join("none"), "").is_err());
    }
}
