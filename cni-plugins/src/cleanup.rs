//! Removes what remains of a network on the host when its last pod is gone: its bridge, its nftables tables, its
//! address records. Called by the agent, by no plugin.

use std::path::Path;

use crate::bridge::{gateway, masquerade, senders, vlan};
use crate::host_local::conf::DEFAULT_DATA_DIR;
use crate::host_local::store::Store;
use crate::netlink::link;
use crate::netlink::socket::{HostNet, NetlinkError, Socket};
use crate::request::{check_interface_name, is_name};
use crate::{firewall, forwarding, portmap};

/// The parts that could not be removed; all others were.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove all of network {network}: {}", failures.join("; "))]
pub struct CleanupError {
    /// The network.
    pub network: String,
    /// One message for each remaining part.
    pub failures: Vec<String>,
}

/// Removes the network called `network` from this host (the network namespace of the calling thread): the bridge called
/// `bridge` with its gateways in VLANs, the masquerading, the checks of senders, the rules of [`crate::forwarding`], the forwarded ports of its pods, and the records
/// under `data_dir` (the default directory if `None`). Missing parts are not an error; after a failure it continues.
/// Pods that are still connected lose their network.
pub fn cleanup(network: &str, bridge: &str, data_dir: Option<&Path>) -> Result<(), CleanupError> {
    let mut failures = Vec::new();
    if !is_name(network) || check_interface_name(bridge).is_err() {
        failures.push(format!(
            "network {network:?} or bridge {bridge:?} is not a valid name"
        ));
    } else {
        failures.extend(remove_bridge(bridge).err());
        failures.extend(remove_rules(network, bridge).err().map(|error| error.to_string()));
        let dir = data_dir.unwrap_or(Path::new(DEFAULT_DATA_DIR)).join(network);
        let removed = Store::open_existing(&dir).and_then(|store| store.map_or(Ok(()), Store::remove));
        failures.extend(removed.err().map(|error| error.to_string()));
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(CleanupError {
            network: network.to_string(),
            failures,
        })
    }
}

fn remove_bridge(name: &str) -> Result<(), String> {
    let remove = || -> Result<Option<String>, NetlinkError> {
        let mut host = HostNet(Socket::route()?);
        let Some(found) = link::by_name(&mut host.0, name)? else {
            return Ok(None);
        };
        if found.kind != "bridge" {
            return Ok(Some(format!("{name} is not a bridge and was not removed")));
        }
        gateway::remove_gateways(&mut host, &found)?;
        link::delete(&mut host.0, &found).map(|()| None)
    };
    match remove() {
        Ok(None) => Ok(()),
        Ok(Some(refusal)) => Err(refusal),
        Err(error) => Err(error.to_string()),
    }
}

fn remove_rules(network: &str, bridge: &str) -> Result<(), NetlinkError> {
    let mut socket = Socket::netfilter()?;
    masquerade::remove(&mut socket, network)?;
    senders::remove_network(&mut socket, network)?;
    forwarding::remove(&mut socket, bridge)?;
    forwarding::remove_of(&mut socket, network, |_| true)?;
    firewall::apply::keep_together(&mut socket, |name| {
        name == bridge || vlan::is_gateway_of(bridge, name)
    })?;
    portmap::apply::remove_network(&mut socket, network)
}
