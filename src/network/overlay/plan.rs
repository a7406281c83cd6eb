//! What has to be done so that the kernel sends packets for other nodes' pods to those nodes. Pure: peers and the kernel's
//! state in, operations out.
//!
//! The state is the one that flannel makes (*Backends* of its documentation, and its `pkg/backend/vxlan` and
//! `pkg/backend/hostgw`), so that nodes of either kind reach each other and a machine can change from one to the other.
//! Everything on the VXLAN device belongs to the overlay. A route by another link is the overlay's if it says so
//! ([`PROTOCOL`]); those of others are left alone.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::kernel::{Kernel, Link};
use super::operation::{Device, Operation, Route};
use super::own::{Own, Way, device_name, device_prefix, pod_mtu};
use super::problem::Problem;
use super::wanted::{PROTOCOL, Place, Wanted, wanted};
use crate::model::overlay::{Mac, Peer};

/// The kernel's own routes (`RTPROT_KERNEL`).
const OF_KERNEL: u8 = 2;

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// In this order. After a device was created, the rest follows from the next plan.
    pub(super) operations: Vec<Operation>,
    /// Why some peers, or all, cannot be reached.
    pub(super) problems: Vec<Problem>,
    /// Whether packets of this node's pods can leave for other nodes once the operations are done.
    pub(super) is_ready: bool,
    /// What the kernel has then.
    pub(super) reached: Option<(Place, Wanted)>,
}

impl Plan {
    /// Whether more is to be done after it.
    pub(super) fn is_begun(&self) -> bool {
        let creates = |operation: &Operation| matches!(operation, Operation::CreateDevice(_));
        self.operations.iter().any(creates)
    }
}

/// Compares the peers with the kernel's state.
pub(super) fn plan(own: &Own, peers: &[Arc<Peer>], kernel: &Kernel) -> Plan {
    let mut plan = Plan::default();
    let Some(place) = place(own, kernel, &mut plan) else {
        return plan;
    };
    let device = place.device;
    let wanted = wanted(own, &place, peers, &mut plan.problems);
    let is_own = |route: &Route| {
        let is_of_device = device == Some(route.link) && route.protocol != OF_KERNEL;
        let is_of_family = own.network.addr().is_ipv4() == route.destination.addr().is_ipv4();
        is_of_family && (is_of_device || route.protocol == PROTOCOL)
    };
    remove_routes(&wanted, kernel, is_own, &mut plan.operations);
    if let Some(index) = device {
        let all = (
            &all_neighbors(index, &wanted, kernel),
            &all_endpoints(index, &wanted, kernel),
        );
        let [go, come] = on_device(index, &wanted, kernel, all);
        plan.operations.extend(go);
        addresses(own, index, kernel, &mut plan.operations);
        plan.operations.extend(come);
    }
    for route in wanted.routes.values() {
        let mut foreign = kernel.routes_to(route.destination).filter(|other| !is_own(other));
        match foreign.find(|other| other.metric == route.metric) {
            // A static route that says the same serves as well.
            Some(other) if (other.gateway, other.link) == (route.gateway, route.link) => {}
            Some(other) => plan.problems.push(Problem::RouteTaken(other.clone())),
            None if kernel.routes.contains(route) => {}
            None => plan.operations.push(Operation::SetRoute(route.clone())),
        }
    }
    // Last: until then packets find their way by them.
    former_devices(own, kernel, &mut plan.operations);
    plan.is_ready = true;
    plan.reached = Some((place, wanted));
    plan
}

/// Where the ways begin; absent if that is not there yet.
fn place(own: &Own, kernel: &Kernel, plan: &mut Plan) -> Option<Place> {
    let Some((uplink, link, on_link)) = kernel.link_of(own.address) else {
        plan.problems.push(Problem::NoUplink(own.address));
        return None;
    };
    if !own.network.contains(&own.subnet) {
        plan.problems.push(Problem::OwnOutside {
            subnet: own.subnet,
            network: own.network,
        });
        return None;
    }
    let device = match own.way {
        Way::HostGw => None,
        Way::Vxlan { vni, port, .. } => {
            let wanted = Device {
                name: device_name(vni, own.address),
                vni,
                port,
                mac: own.mac,
                local: own.address,
                uplink,
                mtu: pod_mtu(own.way, own.address, link.mtu),
            };
            Some(device(&wanted, kernel, plan)?)
        }
    };
    Some(Place {
        device,
        uplink,
        on_link,
    })
}

/// Takes away what the overlay had before it was configured otherwise.
fn former_devices(own: &Own, kernel: &Kernel, operations: &mut Vec<Operation>) {
    let name = match own.way {
        Way::HostGw => None,
        Way::Vxlan { vni, .. } => Some(device_name(vni, own.address)),
    };
    for (index, link) in &kernel.links {
        let is_own = link.vxlan.is_some()
            && link.mac == Some(own.mac)
            && link.name.starts_with(device_prefix(own.address));
        if is_own && name.as_ref() != Some(&link.name) {
            operations.push(Operation::RemoveDevice { index: *index });
        }
    }
}

/// The index of the device if it is as it shall be, or is made so without being made anew.
fn device(wanted: &Device, kernel: &Kernel, plan: &mut Plan) -> Option<u32> {
    let Some((index, link)) = kernel.link(&wanted.name) else {
        plan.operations.push(Operation::CreateDevice(wanted.clone()));
        return None;
    };
    if link.vxlan.is_none() {
        plan.problems.push(Problem::NotVxlan(wanted.name.clone()));
        return None;
    }
    if !is_as_wanted(link, wanted) {
        // Its settings cannot be changed.
        plan.operations.push(Operation::RemoveDevice { index });
        plan.operations.push(Operation::CreateDevice(wanted.clone()));
        return None;
    }
    if link.mtu != wanted.mtu {
        let mtu = wanted.mtu;
        plan.operations.push(Operation::SetMtu { index, mtu });
    }
    if !link.is_up {
        plan.operations.push(Operation::SetUp { index });
    }
    Some(index)
}

fn is_as_wanted(link: &Link, wanted: &Device) -> bool {
    link.mac == Some(wanted.mac)
        && link.vxlan.as_ref().is_some_and(|vxlan| {
            !vxlan.learns
                && vxlan.local == Some(wanted.local)
                && vxlan.uplink == Some(wanted.uplink)
                && (vxlan.vni, vxlan.port) == (wanted.vni, wanted.port)
        })
}

/// What goes first: routes before what they lead to.
fn remove_routes(
    wanted: &Wanted,
    kernel: &Kernel,
    is_own: impl Fn(&Route) -> bool,
    operations: &mut Vec<Operation>,
) {
    for route in kernel.routes.iter().filter(|route| is_own(route)) {
        let replaced = wanted.routes.get(&route.destination);
        if replaced.is_none_or(|wanted| wanted.metric != route.metric) {
            operations.push(Operation::RemoveRoute(route.clone()));
        }
    }
}

/// The device's own address is the first of the subnet, as a network of one: packets of this host to pods of others have
/// it as their source.
fn addresses(own: &Own, index: u32, kernel: &Kernel, operations: &mut Vec<Operation>) {
    let wanted = IpNet::from(own.subnet.network());
    let found = kernel.addresses.get(&index).into_iter().flatten();
    let mut is_there = false;
    for address in found {
        match *address == wanted {
            true => is_there = true,
            false => operations.push(Operation::RemoveAddress {
                index,
                address: *address,
            }),
        }
    }
    if !is_there {
        operations.push(Operation::AddAddress {
            index,
            address: wanted,
        });
    }
}

/// Those that are there or shall be.
fn all_neighbors(index: u32, wanted: &Wanted, kernel: &Kernel) -> BTreeSet<IpAddr> {
    let found = kernel.neighbors.keys().filter(|(link, _)| *link == index);
    let found = found.map(|(_, address)| *address);
    found.chain(wanted.neighbors.keys().copied()).collect()
}

/// As [`all_neighbors`].
fn all_endpoints(index: u32, wanted: &Wanted, kernel: &Kernel) -> BTreeSet<Mac> {
    let found = kernel.forwarding.keys().filter(|(link, _)| *link == index);
    let found = found.map(|(_, mac)| *mac);
    found.chain(wanted.forwarding.keys().copied()).collect()
}

/// What has to go from the device, and what has to come, of the neighbors with these addresses and of the forwarding entries
/// for these endpoints.
pub(super) fn on_device(
    index: u32,
    wanted: &Wanted,
    kernel: &Kernel,
    (addresses, endpoints): (&BTreeSet<IpAddr>, &BTreeSet<Mac>),
) -> [Vec<Operation>; 2] {
    let (mut go, mut come) = (Vec::new(), Vec::new());
    for mac in endpoints.iter().copied() {
        let found = kernel.forwarding.get(&(index, mac)).copied();
        match (wanted.forwarding.get(&mac).copied(), found) {
            (None, Some(address)) => go.push(Operation::RemoveForwarding { index, mac, address }),
            (Some(address), found) if found != Some(address) => {
                come.push(Operation::SetForwarding { index, mac, address });
            }
            _ => {}
        }
    }
    for address in addresses.iter().copied() {
        let found = kernel.neighbors.get(&(index, address)).copied();
        match (wanted.neighbors.get(&address).copied(), found) {
            (None, Some(_)) => go.push(Operation::RemoveNeighbor { index, address }),
            (Some(mac), found) if found != Some(mac) => {
                come.push(Operation::SetNeighbor { index, address, mac });
            }
            _ => {}
        }
    }
    [go, come]
}

#[cfg(test)]
mod tests;
