//! Which way leads to each peer. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

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

/// What the kernel shall have, by these peers. Those that cannot be reached are named.
pub(super) fn wanted(
    own: &Own,
    (device, uplink, on_link): (Option<u32>, u32, IpNet),
    peers: &[Peer],
    problems: &mut Vec<Problem>,
) -> Wanted {
    let mut wanted = Wanted::default();
    let mut before = None;
    // In the order of their subnets: of those that overlap the first one is reached, whatever the order of the peers.
    let mut sorted: Vec<&Peer> = peers
        .iter()
        .filter(|peer| peer.address.is_ipv4() == own.address.is_ipv4() && peer.address != own.address)
        .collect();
    sorted.sort_by_key(|peer| (peer.subnet, &peer.name, peer.address, peer.backend));
    for peer in sorted {
        match reach(own, peer, on_link, before, &wanted.forwarding) {
            Err(problem) => problems.push(problem),
            Ok(Reach::Direct) => {
                let route = route(peer.subnet, peer.address, uplink, false);
                wanted.routes.insert(peer.subnet, route);
                before = Some(peer.subnet);
            }
            Ok(Reach::Tunnel(mac)) => {
                let Some(device) = device else { continue };
                let endpoint = peer.subnet.network();
                wanted.neighbors.insert(endpoint, mac);
                wanted.forwarding.insert(mac, peer.address);
                wanted
                    .routes
                    .insert(peer.subnet, route(peer.subnet, endpoint, device, true));
                before = Some(peer.subnet);
            }
        }
    }
    wanted
}

enum Reach {
    Direct,
    Tunnel(Mac),
}

fn reach(
    own: &Own,
    peer: &Peer,
    on_link: IpNet,
    before: Option<IpNet>,
    endpoints: &BTreeMap<Mac, IpAddr>,
) -> Result<Reach, Problem> {
    let name = || peer.name.clone();
    if !own.network.contains(&peer.subnet) {
        return Err(Problem::Outside {
            peer: name(),
            subnet: peer.subnet,
            network: own.network,
        });
    }
    // Of those that are reached none overlaps another, and none begins after this one: if one overlaps it, the last one does.
    let overlaps =
        |other: &IpNet| other.contains(&peer.subnet.network()) || peer.subnet.contains(&other.network());
    if let Some(other) = [Some(own.subnet), before].into_iter().flatten().find(overlaps) {
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
            match mac == own.mac || endpoints.contains_key(&mac) {
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
