//! Why a node, or all, cannot be reached over the overlay, with the remedy.

use std::net::IpAddr;

use ipnet::IpNet;

use super::operation::Route;
use crate::model::overlay::Mac;

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error(
        "no link of this host has the node's address {0}; other nodes' pods cannot be reached until one has"
    )]
    NoUplink(IpAddr),
    #[error(
        "this node's pod subnet {subnet} is outside of the pod network {network}; set --network-cidr to the network of all nodes"
    )]
    OwnOutside { subnet: IpNet, network: IpNet },
    #[error("the link {0} is not a VXLAN device; rename or remove it, or choose another VNI")]
    NotVxlan(String),
    #[error(
        "node {peer}: its pod subnet {subnet} is outside of the pod network {network}; set --network-cidr to the network of all nodes"
    )]
    Outside {
        peer: String,
        subnet: IpNet,
        network: IpNet,
    },
    #[error("node {peer}: its pod subnet {subnet} overlaps {other}, which is {}; give each node its own with --pod-cidr", if *is_own { "this node's" } else { "another node's" })]
    Overlap {
        peer: String,
        subnet: IpNet,
        other: IpNet,
        is_own: bool,
    },
    #[error(
        "node {peer}: its address {address} is not on this node's link ({link}); host-gw reaches nodes of the same link only, use vxlan"
    )]
    NotOnLink {
        peer: String,
        address: IpAddr,
        link: IpNet,
    },
    #[error("node {peer} uses VNI {vni}, this node {own}; all nodes of a network need the same")]
    OtherVni { peer: String, vni: u32, own: u32 },
    #[error(
        "node {peer}: another node has its tunnel endpoint's MAC address {mac}, too; on one of the two remove the file \
         overlay-mac in the agent's state directory and the overlay's link, and restart the agent"
    )]
    SameMac { peer: String, mac: Mac },
    #[error("node {peer} uses the back end {backend}, this node {own}; all nodes of a network need the same")]
    OtherBackend {
        peer: String,
        backend: &'static str,
        own: &'static str,
    },
    #[error("another program has a route to the pod subnet {}{}; remove it, and the overlay sets its own", .0.destination, via(.0))]
    RouteTaken(Route),
}

fn via(route: &Route) -> String {
    route
        .gateway
        .map(|gateway| format!(" via {gateway}"))
        .unwrap_or_default()
}
