//! How the pod networks of several machines are one (`peersFile` and what goes with it). Pure.

use std::path::PathBuf;

use super::checks::Checks;
use super::own::GantryConfiguration;
use super::surroundings::{ConfigContext, directory};
use crate::model::overlay::Transport;

/// Flannel's defaults (*Backends* of its documentation).
const VNI: u32 = 1;
const PORT: u16 = 8472;
/// A VNI has 24 bits (RFC 7348).
const LARGEST_VNI: i64 = (1 << 24) - 1;

/// Who connects the node's pods, as `podNetwork` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connected {
    ByAgent,
    ByAnother,
}

/// A network of several machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The file of the other machines' entries.
    pub peers: PathBuf,
    /// How packets travel.
    pub transport: Transport,
}

/// The configuration section of this name; absent if the pod network ends at this machine.
pub(super) fn overlay(
    own: &GantryConfiguration,
    pods: Connected,
    context: &ConfigContext,
    checks: &mut Checks<'_>,
) -> Option<Overlay> {
    let transport = transport(own, checks);
    let stated = own.peers_file.as_ref().filter(|path| !path.is_empty());
    let Some(path) = stated else {
        let without = [
            ("networkBackend", own.network_backend.is_some()),
            ("vxlanVNI", own.vxlan_vni.is_some()),
            ("vxlanPort", own.vxlan_port.is_some()),
            ("directRouting", own.direct_routing.is_some()),
        ];
        for (key, _) in without.into_iter().filter(|(_, is_stated)| *is_stated) {
            checks.wrong(
                key,
                "has no effect without peersFile; set that, too, or remove this",
            );
        }
        return None;
    };
    if pods == Connected::ByAnother {
        checks.wrong(
            "peersFile",
            "is for gantry's own pod network; remove this, or podNetwork: cluster",
        );
    }
    Some(Overlay {
        peers: directory(Some(path), "", context),
        transport,
    })
}

fn transport(own: &GantryConfiguration, checks: &mut Checks<'_>) -> Transport {
    let vni = own.vxlan_vni.map_or(VNI, |vni| {
        u32::try_from(vni)
            .ok()
            .filter(|vni| i64::from(*vni) <= LARGEST_VNI && *vni > 0)
            .unwrap_or_else(|| {
                checks.wrong("vxlanVNI", format!("must be from 1 to {LARGEST_VNI}"));
                VNI
            })
    });
    let port = own.vxlan_port.map_or(PORT, |port| {
        u16::try_from(port)
            .ok()
            .filter(|port| *port > 0)
            .unwrap_or_else(|| {
                checks.wrong("vxlanPort", "must be a port");
                PORT
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
            true => Ok(found.map(|found| found.transport)),
            false => Err(checks
                .problems
                .iter()
                .map(|problem| problem.key.clone())
                .collect()),
        }
    }

    #[test]
    fn the_defaults_are_flannels() {
        let vxlan = Transport::Vxlan {
            vni: 1,
            port: 8472,
            is_direct: false,
        };
        assert_eq!(
            check(json!({"peersFile": "peers.yaml"}), Connected::ByAgent),
            Ok(Some(vxlan))
        );
        assert_eq!(check(json!({}), Connected::ByAgent), Ok(None));
        let gateway = json!({"peersFile": "/p", "networkBackend": "host-gw"});
        assert_eq!(check(gateway, Connected::ByAgent), Ok(Some(Transport::HostGw)));
    }

    #[test]
    fn what_has_no_effect_or_cannot_be_is_refused() {
        let wrong = |own, pods| check(own, pods).unwrap_err();
        assert_eq!(
            wrong(json!({"peersFile": "/p"}), Connected::ByAnother),
            ["peersFile"]
        );
        assert_eq!(wrong(json!({"vxlanVNI": 2}), Connected::ByAgent), ["vxlanVNI"]);
        assert_eq!(
            wrong(
                json!({"peersFile": "/p", "vxlanVNI": 16_777_216}),
                Connected::ByAgent
            ),
            ["vxlanVNI"]
        );
        assert_eq!(
            wrong(json!({"peersFile": "/p", "vxlanPort": 0}), Connected::ByAgent),
            ["vxlanPort"]
        );
        assert_eq!(
            wrong(
                json!({"peersFile": "/p", "networkBackend": "wireguard"}),
                Connected::ByAgent
            ),
            ["networkBackend"]
        );
        assert_eq!(
            wrong(
                json!({"peersFile": "/p", "networkBackend": "host-gw", "directRouting": true}),
                Connected::ByAgent
            ),
            ["directRouting"]
        );
    }
}
