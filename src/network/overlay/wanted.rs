//! Which way leads to each peer. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::operation::Route;
use super::own::{Own, Way};
use super::problem::Problem;
use crate::model::overlay::{Backend, Mac, Peer};

/// The mark of routes that the overlay makes by other links than its own: a number that rtnetlink(7) leaves to programs
/// and no routing program of iproute2's `rt_protos` has.
pub(super) const PROTOCOL: u8 = 157;
/// The state that the kernel shall have.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) neighbors: BTreeMap<IpAddr, Mac>,
    pub(super) forwarding: BTreeMap<Mac, IpAddr>,
    pub(super) routes: BTreeMap<IpNet, Route>,
}

/// Where the ways begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The VXLAN device, if packets travel by one.
    pub(super) device: Option<u32>,
    /// The link with the node's address.
    pub(super) uplink: u32,
    /// The addresses that are reached by it.
    pub(super) on_link: IpNet,
}

/// What the kernel shall have, by these peers. Those that cannot be reached are named.
pub(super) fn wanted(own: &Own, place: &Place, peers: &[Arc<Peer>], problems: &mut Vec<Problem>) -> Wanted {
    let mut wanted = Wanted::default();
    // In the order of their subnets: of those that overlap the first one is reached, whatever the order of the peers.
    let mut sorted: Vec<&Arc<Peer>> = peers.iter().filter(|peer| is_elsewhere(own, peer)).collect();
    sorted.sort_by_key(|peer| (peer.subnet, &peer.name, peer.address, peer.backend));
    for peer in sorted {
        problems.extend(wanted.add(own, place, peer).err());
    }
    wanted
}

/// Whether it is another node, in this IP family.
pub(super) fn is_elsewhere(own: &Own, peer: &Peer) -> bool {
    peer.address.is_ipv4() == own.address.is_ipv4() && peer.address != own.address
}

impl Wanted {
    /// Adds the way to a peer.
    pub(super) fn add(&mut self, own: &Own, place: &Place, peer: &Peer) -> Result<(), Problem> {
        match reach(own, peer, place.on_link, self)? {
            Reach::Direct => {
                let route = route(peer.subnet, peer.address, place.uplink, false);
                self.routes.insert(peer.subnet, route);
            }
            Reach::Tunnel(mac) => {
                let Some(device) = place.device else { return Ok(()) };
                let endpoint = peer.subnet.network();
                self.neighbors.insert(endpoint, mac);
                self.forwarding.insert(mac, peer.address);
                self.routes
                    .insert(peer.subnet, route(peer.subnet, endpoint, device, true));
            }
        }
        Ok(())
    }

    /// Takes away the way to a peer that is reached.
    pub(super) fn forget(&mut self, peer: &Peer) -> Option<Route> {
        let route = self.routes.remove(&peer.subnet)?;
        if let Some(mac) = peer.backend.mac().filter(|_| route.is_onlink) {
            self.forwarding.remove(&mac);
            self.neighbors.remove(&peer.subnet.network());
        }
        Some(route)
    }
}

enum Reach {
    Direct,
    Tunnel(Mac),
}

fn reach(own: &Own, peer: &Peer, on_link: IpNet, wanted: &Wanted) -> Result<Reach, Problem> {
    let name = || peer.name.clone();
    if !own.network.contains(&peer.subnet) {
        return Err(Problem::Outside {
            peer: name(),
            subnet: peer.subnet,
            network: own.network,
        });
    }
    if let Some(other) = overlapping(peer.subnet, own.subnet, wanted) {
        return Err(Problem::Overlap {
            peer: name(),
            subnet: peer.subnet,
            other,
            is_own: other == own.subnet,
        });
    }
    let is_on_link = on_link.contains(&peer.address);
    match (own.way, peer.backend) {
        (Way::HostGw, Backend::HostGw) if is_on_link => Ok(Reach::Direct),
        (Way::HostGw, Backend::HostGw) => Err(Problem::NotOnLink {
            peer: name(),
            address: peer.address,
            link: on_link.trunc(),
        }),
        (Way::Vxlan { vni, .. }, Backend::Vxlan { vni: theirs, .. }) if vni != theirs => {
            Err(Problem::OtherVni {
                peer: name(),
                vni: theirs,
                own: vni,
            })
        }
        (Way::Vxlan { is_direct: true, .. }, Backend::Vxlan { .. }) if is_on_link => Ok(Reach::Direct),
        (Way::Vxlan { .. }, Backend::Vxlan { mac, .. }) => {
            match mac == own.mac || wanted.forwarding.contains_key(&mac) {
                true => Err(Problem::SameMac { peer: name(), mac }),
                false => Ok(Reach::Tunnel(mac)),
            }
        }
        (way, theirs) => Err(Problem::OtherBackend {
            peer: name(),
            backend: theirs.name(),
            own: match way {
                Way::HostGw => "host-gw",
                Way::Vxlan { .. } => "vxlan",
            },
        }),
    }
}

/// What a subnet overlaps. Of those that are reached no two overlap, so that the neighbors in their order are enough: one that
/// contains it begins before it, or where it begins, and one that it contains comes next.
fn overlapping(subnet: IpNet, own: IpNet, wanted: &Wanted) -> Option<IpNet> {
    let before = wanted.routes.range(..=subnet).next_back();
    let after = wanted.routes.range(subnet..).next();
    let overlaps = |other: &IpNet| other.contains(&subnet.network()) || subnet.contains(&other.network());
    let reached = [before, after].into_iter().flatten().map(|(other, _)| *other);
    std::iter::once(own).chain(reached).find(overlaps)
}

fn route(destination: IpNet, gateway: IpAddr, link: u32, is_onlink: bool) -> Route {
    Route {
        destination,
        gateway: Some(gateway),
        link,
        is_onlink,
        protocol: PROTOCOL,
        // The kernel's own for a route that states none (`IP6_RT_PRIO_USER`).
        metric: if destination.addr().is_ipv6() { 1024 } else { 0 },
    }
}
