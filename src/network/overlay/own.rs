//! This node as the overlay's plan knows it, and what follows from that alone. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::overlay::Mac;

/// This node, in one IP family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    /// Where other nodes reach it.
    pub(super) address: IpAddr,
    /// The network of all pods. Nothing outside of it is routed to a peer.
    pub(super) network: IpNet,
    /// The part of this node's pods.
    pub(super) subnet: IpNet,
    /// The address of its tunnel endpoint, by which devices that the overlay has made are known.
    pub(super) mac: Mac,
    /// How packets travel.
    pub(super) way: Way,
}

/// How packets travel between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Vxlan {
        vni: u32,
        /// The UDP port at which all nodes listen.
        port: u16,
        /// Nodes on the same link are reached without encapsulation.
        is_direct: bool,
    },
    HostGw,
}

/// The name of the VXLAN device, as flannel has it.
pub(super) fn device_name(vni: u32, address: IpAddr) -> String {
    format!("{}{vni}", device_prefix(address))
}

/// What the names of all VXLAN devices of an IP family begin with.
pub(super) fn device_prefix(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "flannel.",
        IpAddr::V6(_) => "flannel-v6.",
    }
}

/// The greatest packet of a pod that reaches another node in one piece, by a link of this MTU.
pub(super) fn pod_mtu(way: Way, address: IpAddr, uplink: u32) -> u32 {
    // Ethernet, IP, UDP and VXLAN headers (RFC 7348).
    let headers = match (way, address) {
        (Way::HostGw, _) => 0,
        (Way::Vxlan { .. }, IpAddr::V4(_)) => 14 + 20 + 8 + 8,
        (Way::Vxlan { .. }, IpAddr::V6(_)) => 14 + 40 + 8 + 8,
    };
    uplink.saturating_sub(headers)
}
