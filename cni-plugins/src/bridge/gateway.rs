//! Puts ports into their VLANs, and makes the host's way into one: a veth pair of the host, one end of which is the gateway,
//! named after bridge and VLAN, and the other a port of the bridge in that VLAN. Both stay with the bridge, as its address
//! does without a VLAN.

use nix::errno::Errno;

use super::random::random_mac;
use super::vlan::{DefaultVlan, Vlans, gateway_name, is_gateway_of};
use super::wait;
use crate::netlink::bridge::{self, Membership};
use crate::netlink::link::{self, Link, NewVeth};
use crate::netlink::socket::{HostNet, NetlinkError};
use crate::text::hash;
use crate::types::{Code, Error};
use crate::{netns, sysctl};

/// Puts a port into its VLANs, and out of others unless it keeps them. It is at no moment in none.
pub(super) fn put(
    host: &mut HostNet,
    port: &Link,
    vlans: &Membership,
    default: DefaultVlan,
) -> Result<(), NetlinkError> {
    let mut requests = vec![bridge::joining(port, vlans)];
    let others = vlans.others();
    if default == DefaultVlan::Removed && !others.is_empty() {
        requests.push(bridge::leaving(port, &others));
    }
    host.0.execute_all(requests)
}

/// What differs from [`put`], if anything.
pub(super) fn difference(
    host: &mut HostNet,
    port: &Link,
    vlans: &Vlans,
) -> Result<Option<String>, NetlinkError> {
    let found = bridge::vlans_of(&mut host.0, port)?;
    let name = &port.name;
    let native = vlans.port.native;
    if !found
        .iter()
        .any(|one| one.number == native && one.native && one.untagged)
    {
        return Ok(Some(format!(
            "frames of {name} without a tag are no longer in VLAN {native}"
        )));
    }
    let wanted = vlans.port.numbers();
    let is_found = |number: &u16| found.iter().any(|one| one.number == *number);
    if let Some(lost) = wanted.iter().find(|number| !is_found(number)) {
        return Ok(Some(format!("{name} is no longer in VLAN {lost}")));
    }
    let strange = found
        .iter()
        .find(|one| wanted.binary_search(&one.number).is_err());
    Ok(strange
        .filter(|_| vlans.default == DefaultVlan::Removed)
        .map(|strange| {
            format!(
                "{name} is in VLAN {}, which the configuration does not contain",
                strange.number
            )
        }))
}

/// Ensures the gateway in a VLAN, without its address.
pub(super) fn ensure_gateway(
    host: &mut HostNet,
    bridge: &Link,
    vlan: u16,
    default: DefaultVlan,
) -> Result<Link, Error> {
    let name = gateway_name(&bridge.name, vlan);
    let (gateway, port) = match find_gateway(host, bridge, &name)? {
        Some(found) => found,
        None => {
            add_gateway(host, bridge, &name)?;
            find_gateway(host, bridge, &name)?.ok_or_else(|| {
                Error::new(Code::Kernel, format!("interface {name} disappeared during setup"))
            })?
        }
    };
    if gateway.accept_ra != Some(0) {
        sysctl::prefer(&format!("net/ipv6/conf/{name}/accept_ra"), "0");
    }
    if !gateway.up {
        link::set_up(&mut host.0, &gateway, true)?;
    }
    // Somebody's own VLAN device has no port, and is the bridge's owner's matter.
    if let Some(port) = port {
        let vlans = Membership {
            native: vlan,
            tagged: Vec::new(),
        };
        put(host, &port, &vlans, default)?;
        if !(gateway.operational && port.operational) {
            wait::until_operational(host, &port, &gateway)?;
        }
    }
    Ok(gateway)
}

/// The gateway, and its port of the bridge.
fn find_gateway(
    host: &mut HostNet,
    bridge: &Link,
    name: &str,
) -> Result<Option<(Link, Option<Link>)>, Error> {
    let Some(found) = link::by_name(&mut host.0, name)? else {
        return Ok(None);
    };
    if found.kind == "vlan" && found.peer == Some(bridge.index) {
        return Ok(Some((found, None)));
    }
    let port = match found.peer.filter(|_| found.kind == "veth") {
        Some(peer) => link::by_index(&mut host.0, peer)?,
        None => None,
    };
    match port.filter(|port| port.master == Some(bridge.index)) {
        Some(port) => Ok(Some((found, Some(port)))),
        None => Err(Error::invalid(format!(
            "interface {name:?} exists but does not lead to bridge {:?}; choose another bridge name or vlan",
            bridge.name
        ))),
    }
}

fn add_gateway(host: &mut HostNet, bridge: &Link, name: &str) -> Result<(), Error> {
    let here = netns::current()?;
    let port = format!("veth{:08x}", hash(name.as_bytes()) >> 32);
    let veth = NewVeth {
        host_name: &port,
        bridge: bridge.index,
        pod_name: name,
        pod_netns: &here,
        pod_mac: random_mac()?,
        mtu: Some(bridge.mtu),
    };
    match link::add_veth(&mut host.0, &veth) {
        Ok(port) => {
            sysctl::prefer_new(&format!("net/ipv6/conf/{}/accept_ra", port.name), "0");
            // As for the bridge itself.
            sysctl::prefer(&format!("net/ipv6/conf/{name}/accept_dad"), "0");
            match bridge.mac {
                // That of a bridge that another program created may change with its ports.
                Some(mac) => Ok(link::set_mac(&mut host.0, bridge, mac)?),
                None => Ok(()),
            }
        }
        // The ADD of another pod was faster.
        Err(error) if error.errno() == Some(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes the gateways in the VLANs of a bridge.
pub fn remove_gateways(host: &mut HostNet, bridge: &Link) -> Result<(), NetlinkError> {
    let all = link::list(&mut host.0)?;
    for gateway in all.iter().filter(|one| is_gateway_of(&bridge.name, &one.name)) {
        let is_port = |one: &&Link| gateway.peer == Some(one.index) && one.master == Some(bridge.index);
        if gateway.kind == "veth" && all.iter().any(|one| is_port(&one)) {
            link::delete(&mut host.0, gateway)?;
        }
    }
    Ok(())
}
