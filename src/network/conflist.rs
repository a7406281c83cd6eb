//! The CNI configuration: gantry's own and those of other plugins (CNI specification 1.0.0, *Network configuration
//! format*).

use std::io;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

/// The name of gantry's file.
pub const FILE: &str = "10-gantry.conflist";
/// The name of gantry's network, and of its directory in host-local's store.
pub const NETWORK: &str = "gantry";
/// The bridge that pods are attached to.
pub const BRIDGE: &str = "gantry0";

/// Gantry's configuration for these subnets, one of each IP family that pods have addresses of. It is of one plugin: each one
/// is a process per pod. `between` is the MTU of pods if the network has several nodes: what masquerades then knows all of
/// them (`between`), and is not the plugin.
pub fn render(subnets: &[IpNet], data_dir: &Path, between: Option<u32>) -> String {
    let ranges: Vec<_> = subnets
        .iter()
        .map(|subnet| serde_json::json!([{ "subnet": subnet }]))
        .collect();
    let routes = subnets.iter().map(|subnet| match subnet {
        IpNet::V4(_) => serde_json::json!({ "dst": "0.0.0.0/0" }),
        IpNet::V6(_) => serde_json::json!({ "dst": "::/0" }),
    });
    let routes: Vec<_> = routes.collect();
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
                    "ranges": ranges,
                    "routes": routes,
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

/// The subnets in gantry's own configuration.
pub fn subnets_of(text: &str) -> Vec<IpNet> {
    let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let ranges = value
        .pointer("/plugins/0/ipam/ranges")
        .and_then(|ranges| ranges.as_array());
    let texts = ranges
        .into_iter()
        .flatten()
        .filter_map(|range| range.pointer("/0/subnet")?.as_str());
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// The MTU of pods in the configuration that is there, in bytes.
pub(super) fn mtu(conf_dir: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(conf_dir.join(FILE)).ok()?;
    let value: serde_json::Value = serde_json::from_str(&text).ok()?;
    u32::try_from(value.pointer("/plugins/0/mtu")?.as_u64()?).ok()
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
    fn the_subnets_are_read_back_from_what_was_written() {
        let data_dir = Path::new("/var/lib/cni/networks");
        let subnets: Vec<IpNet> = ["10.244.7.0/24", "fd00:10:244:7::/64"]
            .map(|text| text.parse().unwrap())
            .into();
        for subnets in [&subnets[..], &subnets[..1], &subnets[1..]] {
            assert_eq!(subnets_of(&render(subnets, data_dir, None)), subnets);
        }
        let between = render(&subnets, data_dir, Some(1450));
        assert!(
            between.contains("\"mtu\": 1450") && between.contains("\"ipMasq\": false"),
            "{between}"
        );
        assert!(subnets_of("{").is_empty());
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
