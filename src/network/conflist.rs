//! The CNI configuration: gantry's own and those of other plugins (CNI specification 1.0.0, *Network configuration
//! format*).

use std::io;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;

/// The name of gantry's file.
pub const FILE: &str = "10-gantry.conflist";
/// The name of gantry's network, and of its directory in host-local's store.
pub const NETWORK: &str = "gantry";
/// The bridge that pods are attached to.
pub const BRIDGE: &str = "gantry0";

/// Gantry's configuration for a subnet, of one plugin: each one is a process per pod. `between` is the MTU of pods if the network has several nodes: what masquerades then
/// knows all of them (`between`), and is not the plugin.
pub fn render(subnet: Ipv4Net, data_dir: &Path, between: Option<u32>) -> String {
    let mut configuration = serde_json::json!({
        "cniVersion": "1.0.0",
        "name": NETWORK,
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": true,
                "ipMasq": between.is_none(),
                "hairpinMode": true,
                "includes": ["portmap", "bandwidth"],
                "capabilities": { "portMappings": true, "bandwidth": true },
                "ipam": {
                    "type": "host-local",
                    "dataDir": data_dir,
                    "ranges": [[{ "subnet": subnet }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            },
        ],
    });
    if let Some(mtu) = between {
        configuration["plugins"][0]["mtu"] = mtu.into();
    }
    let mut text = serde_json::to_string_pretty(&configuration).expect("a JSON value has a text");
    text.push('\n');
    text
}

/// The subnet in gantry's own configuration.
pub fn subnet_of(text: &str) -> Option<Ipv4Net> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    value
        .pointer("/plugins/0/ipam/ranges/0/0/subnet")?
        .as_str()?
        .parse()
        .ok()
}

/// Configurations of other plugins, in the order in which the runtime reads them: `.conf`, `.conflist` and `.json`
/// files. None if the directory is missing.
pub fn foreign(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let read_by_runtime = path
            .extension()
            .is_some_and(|e| e == "conf" || e == "conflist" || e == "json");
        if read_by_runtime && path.file_name().is_some_and(|name| name != FILE) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subnet_is_read_back_from_what_was_written() {
        let subnet = "10.244.7.0/24".parse().unwrap();
        assert_eq!(
            subnet_of(&render(subnet, Path::new("/var/lib/cni/networks"), None)),
            Some(subnet)
        );
        let between = render(subnet, Path::new("/var/lib/cni/networks"), Some(1450));
        assert!(
            between.contains("\"mtu\": 1450") && between.contains("\"ipMasq\": false"),
            "{between}"
        );
        assert_eq!(subnet_of("{"), None);
    }

    #[test]
    fn only_files_that_the_runtime_reads_count_as_another_networks() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            FILE,
            "README",
            "10-flannel.conflist",
            "87-podman.conf",
            "x.conf.bak",
        ] {
            std::fs::write(dir.path().join(name), "{}").unwrap();
        }
        let names: Vec<_> = foreign(dir.path())
            .unwrap()
            .iter()
            .map(|p| p.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["10-flannel.conflist", "87-podman.conf"]);
        assert!(foreign(&dir.path().join("missing")).unwrap().is_empty());
    }
}
