//! How the pod networks of several nodes are one (`peersFile`, `networkBackend` and what goes with them). Pure.

use std::path::PathBuf;

use super::checks::Checks;
use super::own::GantryConfiguration;
use super::surroundings::{ConfigContext, directory};
use crate::model::overlay::Transport;

/// A VNI has 24 bits (RFC 7348).
const LARGEST_VNI: i64 = (1 << 24) - 1;

/// Who connects the node's pods, as `podNetwork` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connected {
    Agent,
    /// And by another program in a cluster.
    AgentWithoutCluster,
    Another,
}

/// A network of several nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The file of the other machines' entries; in a cluster the Node objects say it.
    pub peers: Option<PathBuf>,
    /// How packets travel. Absent: as the cluster says, else flannel's default.
    pub transport: Option<Transport>,
}

/// The configuration section of this name.
pub(super) fn overlay(
    own: &GantryConfiguration,
    pods: Connected,
    context: &ConfigContext,
    checks: &mut Checks<'_>,
) -> Overlay {
    let of_transport = [
        ("networkBackend", own.network_backend.is_some()),
        ("vxlanVNI", own.vxlan_vni.is_some()),
        ("vxlanPort", own.vxlan_port.is_some()),
        ("directRouting", own.direct_routing.is_some()),
    ];
    let is_stated = |key: &(&str, bool)| key.1;
    let transport = of_transport.iter().any(is_stated).then(|| transport(own, checks));
    let path = own.peers_file.as_ref().filter(|path| !path.is_empty());
    match (pods, path) {
        (Connected::Another, Some(_)) => checks.wrong(
            "peersFile",
            "is for gantry's own pod network; remove this, or podNetwork: cluster",
        ),
        // In a cluster the Node objects are enough.
        (Connected::Agent, _) | (_, Some(_)) => {}
        (Connected::AgentWithoutCluster | Connected::Another, None) => {
            for (key, _) in of_transport.into_iter().filter(is_stated) {
                checks.wrong(
                    key,
                    "has no effect without peersFile or, in a cluster, podNetwork: own; set that, too, or remove this",
                );
            }
        }
    }
    Overlay {
        peers: path.map(|path| directory(Some(path), "", context)),
        transport,
    }
}

fn transport(own: &GantryConfiguration, checks: &mut Checks<'_>) -> Transport {
    let vni = own.vxlan_vni.map_or(Transport::VNI, |stated| {
        u32::try_from(stated)
            .ok()
            .filter(|vni| i64::from(*vni) <= LARGEST_VNI && *vni > 0)
            .unwrap_or_else(|| {
                checks.wrong("vxlanVNI", format!("must be from 1 to {LARGEST_VNI}"));
                Transport::VNI
            })
    });
    let port = own.vxlan_port.map_or(Transport::PORT, |stated| {
        u16::try_from(stated)
            .ok()
            .filter(|port| *port > 0)
            .unwrap_or_else(|| {
                checks.wrong("vxlanPort", "must be a port");
                Transport::PORT
            })
    });
    match own.network_backend.as_deref().unwrap_or_default() {
        "" | "vxlan" => Transport::Vxlan {
            vni,
            port,
            is_direct: own.direct_routing == Some(true),
        },
        "host-gw" => {
            for (key, is_stated) in [
                ("vxlanVNI", own.vxlan_vni.is_some()),
                ("vxlanPort", own.vxlan_port.is_some()),
                ("directRouting", own.direct_routing.is_some()),
            ] {
                if is_stated {
                    checks.wrong(key, "has no effect with networkBackend: host-gw; remove it");
                }
            }
            Transport::HostGw
        }
        other => {
            checks.wrong(
                "networkBackend",
                format!("{other:?} is not one of vxlan and host-gw"),
            );
            Transport::HostGw
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::layers::Layer;

    fn check(own: Value, pods: Connected) -> Result<Option<Transport>, Vec<String>> {
        let layer = Layer::default();
        let mut checks = Checks::new(&layer);
        let written = serde_json::from_value(own).unwrap();
        let context = ConfigContext {
            hostname: "vm".to_owned(),
            directory: "/here".into(),
            version: String::new(),
        };
        let found = overlay(&written, pods, &context, &mut checks);
        match checks.problems.is_empty() {
            true => Ok(found.transport),
            false => Err(checks
                .problems
                .iter()
                .map(|problem| problem.key.clone())
                .collect()),
        }
    }

    #[test]
    fn what_is_not_stated_is_the_clusters_or_flannels_default() {
        let file = json!({"peersFile": "peers.yaml"});
        assert_eq!(check(file, Connected::AgentWithoutCluster), Ok(None));
        assert_eq!(check(json!({}), Connected::AgentWithoutCluster), Ok(None));
        let gateway = json!({"peersFile": "/p", "networkBackend": "host-gw"});
        assert_eq!(
            check(gateway, Connected::AgentWithoutCluster),
            Ok(Some(Transport::HostGw))
        );
        let direct = json!({"directRouting": true});
        let vxlan = Transport::Vxlan {
            vni: 1,
            port: 8472,
            is_direct: true,
        };
        assert_eq!(check(direct, Connected::Agent), Ok(Some(vxlan)));
    }

    #[test]
    fn what_has_no_effect_or_cannot_be_is_refused() {
        let wrong = |own, pods| check(own, pods).unwrap_err();
        assert_eq!(
            wrong(json!({"peersFile": "/p"}), Connected::Another),
            ["peersFile"]
        );
        assert_eq!(
            wrong(json!({"vxlanVNI": 2}), Connected::AgentWithoutCluster),
            ["vxlanVNI"]
        );
        assert_eq!(
            wrong(
                json!({"peersFile": "/p", "vxlanVNI": 16_777_216}),
                Connected::AgentWithoutCluster
            ),
            ["vxlanVNI"]
        );
        assert_eq!(
            wrong(
                json!({"peersFile": "/p", "vxlanPort": 0}),
                Connected::AgentWithoutCluster
            ),
            ["vxlanPort"]
        );
        assert_eq!(
            wrong(
                json!({"peersFile": "/p", "networkBackend": "wireguard"}),
                Connected::AgentWithoutCluster
            ),
            ["networkBackend"]
        );
        assert_eq!(
            wrong(
                json!({"peersFile": "/p", "networkBackend": "host-gw", "directRouting": true}),
                Connected::AgentWithoutCluster
            ),
            ["directRouting"]
        );
    }
}
