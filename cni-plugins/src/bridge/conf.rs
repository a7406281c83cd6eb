//! The configuration of `type: bridge`, as written and as parsed. <https://www.cni.dev/plugins/current/main/bridge/>

use std::collections::BTreeSet;

use serde::Deserialize;

use super::included::{self, Included};
use super::vlan::{self, DefaultVlan, Vlans, WrittenTrunk};
use crate::netlink::link::Mac;
use crate::request::{Request, check_interface_name, is_plugin_name};
use crate::types::{Dns, Error};

/// The parsed configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conf {
    /// The bridge's name.
    pub bridge: String,
    /// What the host does for the pods.
    pub gateway: Gateway,
    /// Whether a conflicting address of the bridge may be replaced.
    pub force_address: bool,
    /// Whether packets that leave the subnet are masqueraded.
    pub masquerade: bool,
    /// The MTU of bridge and veth; otherwise that of the bridge, which has the one of the host's uplink.
    pub mtu: Option<u32>,
    /// How packets get back out of the port they came in by.
    pub reflection: Reflection,
    /// The pod's hardware address, if the caller sets one.
    pub mac: Option<Mac>,
    /// Whether this plugin sets the pod's interface up, or leaves it to another one.
    pub container_interface: ContainerInterface,
    /// Whether duplicate address detection is done for the pod's IPv6 addresses.
    pub duplicate_detection: bool,
    /// Whether the pod's port exchanges frames only with ports that are not isolated.
    pub isolated: bool,
    /// Whether the pod's port takes only frames that come from the pod's hardware address (`macspoofchk`).
    pub checks_senders: bool,
    /// The VLANs of the pod's port; `None` if the bridge need not know of any.
    pub vlans: Option<Vlans>,
    /// The source of addresses; `None` for a network without any.
    pub ipam: Option<Ipam>,
    /// Replaces the resolver settings of the IPAM plugin unless it is empty.
    pub dns: Dns,
    /// The plugins whose work this one does, too.
    pub included: BTreeSet<Included>,
}

impl Conf {
    /// The VLAN of the gateway, if it is in one: then the bridge has no address.
    pub fn gateway_vlan(&self) -> Option<u16> {
        let vlan = self.vlans.as_ref().and_then(|vlans| vlans.gateway);
        vlan.filter(|_| self.gateway != Gateway::None && self.ipam.is_some())
    }
}

/// What the host does for the pods (`isGateway`, `isDefaultGateway`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// Nothing.
    None,
    /// It has the gateway's address and forwards.
    Address,
    /// The same, and the pods' default route leads to it.
    DefaultRoute,
}

/// Whether this plugin sets the pod's interface up (`disableContainerInterface`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerInterface {
    /// This plugin.
    Up,
    /// Left to another plugin, if any.
    LeftDown,
}

/// How packets get back out of the port they came in by (`hairpinMode`, `promiscMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reflection {
    /// They do not.
    None,
    /// The bridge sends them back.
    Hairpin,
    /// The bridge takes all packets, and the host sends them back.
    Promiscuous,
}

/// The source of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ipam {
    /// This binary, without starting another process.
    HostLocal,
    /// A plugin of this name, found by `CNI_PATH`.
    Plugin(String),
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    bridge: Option<String>,
    is_gateway: bool,
    is_default_gateway: bool,
    force_address: bool,
    ip_masq: bool,
    ip_masq_backend: Option<String>,
    mtu: Option<i64>,
    hairpin_mode: bool,
    promisc_mode: bool,
    vlan: i64,
    vlan_trunk: Option<Vec<WrittenTrunk>>,
    preserve_default_vlan: bool,
    macspoofchk: bool,
    enabledad: bool,
    disable_container_interface: bool,
    port_isolation: bool,
    ipam: WrittenIpam,
    dns: Option<Dns>,
    includes: Vec<String>,
    args: WrittenArgs,
    runtime_config: WrittenRuntime,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenIpam {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenArgs {
    cni: WrittenRuntime,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenRuntime {
    mac: Option<String>,
}

/// Reads and checks the configuration. Unknown keys are ignored, as the protocol requires; keys of the original plugin
/// that request something unsupported here are rejected, because ignoring them would be a surprise.
pub fn read(request: &Request) -> Result<Conf, Error> {
    let written: Written = request.config()?;
    check_backend(request, &written)?;
    let bridge = written
        .bridge
        .clone()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "cni0".to_string());
    check_interface_name(&bridge)
        .map_err(|reason| Error::invalid(format!("invalid bridge name {bridge:?}: it {reason}")))?;
    let gateway = match (written.is_gateway, written.is_default_gateway) {
        (_, true) => Gateway::DefaultRoute,
        (true, false) => Gateway::Address,
        (false, false) => Gateway::None,
    };
    let in_args = request
        .args
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case("MAC"))
        .map(|(_, mac)| mac.clone());
    let given = [
        written.runtime_config.mac.clone(),
        written.args.cni.mac.clone(),
        in_args,
    ];
    let mac = given.into_iter().flatten().find(|mac| !mac.is_empty());
    let conf = Conf {
        bridge,
        gateway,
        force_address: written.force_address,
        masquerade: written.ip_masq,
        mtu: mtu(written.mtu.unwrap_or(0))?,
        reflection: reflection(&written)?,
        mac: mac.as_deref().map(read_mac).transpose()?,
        container_interface: container_interface(&written)?,
        duplicate_detection: written.enabledad,
        isolated: written.port_isolation,
        checks_senders: written.macspoofchk,
        vlans: vlans(&written)?,
        ipam: ipam(&written.ipam.kind)?,
        dns: written.dns.unwrap_or_default(),
        included: included::read(&written.includes)?,
    };
    check_gateway_name(&conf)?;
    Ok(conf)
}

fn mtu(written: i64) -> Result<Option<u32>, Error> {
    if written == 0 {
        return Ok(None);
    }
    let mtu = u32::try_from(written)
        .ok()
        .filter(|mtu| (68..=65535).contains(mtu));
    mtu.map(Some).ok_or_else(|| {
        Error::invalid(format!(
            "mtu {written} must be between 68 and 65535, or 0 for the default"
        ))
    })
}

fn reflection(written: &Written) -> Result<Reflection, Error> {
    match (written.hairpin_mode, written.promisc_mode) {
        (true, true) => {
            let message = "hairpinMode and promiscMode are mutually exclusive; set only one";
            Err(Error::invalid(message))
        }
        (true, false) => Ok(Reflection::Hairpin),
        (false, true) => Ok(Reflection::Promiscuous),
        (false, false) => Ok(Reflection::None),
    }
}

fn container_interface(written: &Written) -> Result<ContainerInterface, Error> {
    match (written.disable_container_interface, &written.ipam.kind) {
        (false, _) => Ok(ContainerInterface::Up),
        (true, kind) if kind.is_empty() => Ok(ContainerInterface::LeftDown),
        (true, _) => Err(Error::invalid(
            "disableContainerInterface and ipam are mutually exclusive; an interface that stays down gets no address",
        )),
    }
}

fn ipam(kind: &str) -> Result<Option<Ipam>, Error> {
    match kind {
        "" => Ok(None),
        "host-local" => Ok(Some(Ipam::HostLocal)),
        other if !is_plugin_name(other) => Err(Error::invalid(format!(
            "ipam.type {other:?} must be the name of a plugin, not a path"
        ))),
        other => Ok(Some(Ipam::Plugin(other.to_string()))),
    }
}

/// Since 1.8.0 the original keeps a port in the VLANs of the configuration only, unless it is told otherwise.
fn vlans(written: &Written) -> Result<Option<Vlans>, Error> {
    let default = if written.preserve_default_vlan {
        DefaultVlan::Kept
    } else {
        DefaultVlan::Removed
    };
    vlan::read(written.vlan, written.vlan_trunk.as_deref(), default)
}

/// The name of the gateway in a VLAN is made of that of the bridge.
fn check_gateway_name(conf: &Conf) -> Result<(), Error> {
    let Some(vlan) = conf.gateway_vlan() else {
        return Ok(());
    };
    let name = vlan::gateway_name(&conf.bridge, vlan);
    check_interface_name(&name).map_err(|reason| {
        Error::invalid(format!(
            "bridge {:?} and vlan {vlan}: the gateway cannot be called {name:?}: it {reason}",
            conf.bridge
        ))
    })
}

fn check_backend(request: &Request, written: &Written) -> Result<(), Error> {
    match written.ip_masq_backend.as_deref() {
        None | Some("" | "nftables") => Ok(()),
        Some("iptables") => {
            request.note("ipMasqBackend iptables: masquerading uses nftables instead, with the same result");
            Ok(())
        }
        Some(other) => Err(Error::invalid(format!(
            "ipMasqBackend {other:?} is not supported; use iptables or nftables"
        ))),
    }
}

fn read_mac(written: &str) -> Result<Mac, Error> {
    let mac = Mac::parse(written).ok_or_else(|| {
        Error::invalid(format!(
            "invalid mac {written:?}: it must have the form 0a:58:0a:f4:01:02"
        ))
    })?;
    // The lowest bit of the first byte marks a multicast address; the kernel rejects it without a reason.
    if mac.0[0] & 1 != 0 || mac.0 == [0; 6] {
        return Err(Error::invalid(format!(
            "invalid mac {written:?}: it is a multicast or unspecified address; the first byte must be even"
        )));
    }
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::request::sample;
    use crate::types::Code;

    fn request(config: Value) -> Request {
        Request {
            args: [("MAC".to_string(), "02:00:00:00:00:01".to_string())].into(),
            ..sample(config)
        }
    }

    #[test]
    fn defaults_are_those_of_the_original() {
        let conf = read(&request(json!({}))).unwrap();
        assert_eq!(
            (conf.bridge.as_str(), conf.gateway, conf.mtu),
            ("cni0", Gateway::None, None)
        );
        assert_eq!((conf.reflection, conf.ipam), (Reflection::None, None));
        assert_eq!(
            read(&request(json!({"isDefaultGateway": true}))).unwrap().gateway,
            Gateway::DefaultRoute
        );
    }

    #[test]
    fn the_runtime_s_mac_wins_over_the_others() {
        let config = json!({"args": {"cni": {"mac": "02:00:00:00:00:02"}}});
        assert_eq!(
            read(&request(config)).unwrap().mac,
            Mac::parse("02:00:00:00:00:02")
        );
        let config = json!({"runtimeConfig": {"mac": "02:00:00:00:00:03"}, "args": {"cni": {"mac": "02:00:00:00:00:02"}}});
        assert_eq!(
            read(&request(config)).unwrap().mac,
            Mac::parse("02:00:00:00:00:03")
        );
        assert_eq!(
            read(&request(json!({}))).unwrap().mac,
            Mac::parse("02:00:00:00:00:01")
        );
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name_and_what_nobody_knows_is_not() {
        let cases = [
            (json!({"vlan": 4095}), Code::InvalidConfig, "vlan"),
            (json!({"vlan": "5"}), Code::Decode, "vlan"),
            (
                json!({"bridge": "bridge-of-pods", "vlan": 5, "isGateway": true, "ipam": {"type": "host-local"}}),
                Code::InvalidConfig,
                "vlan 5",
            ),
            (
                json!({"ipMasqBackend": "ipchains"}),
                Code::InvalidConfig,
                "ipMasqBackend",
            ),
            (
                json!({"disableContainerInterface": true, "ipam": {"type": "host-local"}}),
                Code::InvalidConfig,
                "disableContainerInterface",
            ),
            (
                json!({"hairpinMode": true, "promiscMode": true}),
                Code::InvalidConfig,
                "hairpinMode",
            ),
            (json!({"bridge": "a/b"}), Code::InvalidConfig, "bridge"),
            (
                json!({"bridge": "much-too-long-a-name"}),
                Code::InvalidConfig,
                "bridge",
            ),
            (json!({"mtu": 10}), Code::InvalidConfig, "mtu"),
            (json!({"mtu": -1}), Code::InvalidConfig, "mtu"),
            (json!({"mtu": "x"}), Code::Decode, "x"),
            (
                json!({"ipam": {"type": "../x"}}),
                Code::InvalidConfig,
                "ipam.type",
            ),
            (
                json!({"runtimeConfig": {"mac": "01:00:00:00:00:00"}}),
                Code::InvalidConfig,
                "mac",
            ),
            (
                json!({"runtimeConfig": {"mac": "nope"}}),
                Code::InvalidConfig,
                "mac",
            ),
        ];
        for (config, code, field) in cases {
            let error = read(&request(config.clone())).unwrap_err();
            assert_eq!(error.code, code, "{config}");
            assert!(error.msg.contains(field), "{config}: {}", error.msg);
        }
        assert!(
            read(&request(
                json!({"vlan": 0, "vlanTrunk": [], "unheardOf": 1, "ipMasqBackend": "nftables"})
            ))
            .is_ok()
        );
    }
}
