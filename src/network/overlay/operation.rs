//! What can be done to the kernel's state, as a value. Pure.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::overlay::Mac;

/// A unicast route of the main table with one next hop.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    pub(super) destination: IpNet,
    pub(super) gateway: Option<IpAddr>,
    /// The link's index.
    pub(super) link: u32,
    pub(super) is_onlink: bool,
    /// Which program has made it (`rtnetlink(7)`).
    pub(super) protocol: u8,
    pub(super) metric: u32,
}

/// A VXLAN device to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) vni: u32,
    pub(super) port: u16,
    pub(super) mac: Mac,
    pub(super) local: IpAddr,
    pub(super) uplink: u32,
    pub(super) mtu: u32,
}

/// One change of the kernel's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    RemoveDevice {
        index: u32,
    },
    CreateDevice(Device),
    SetMtu {
        index: u32,
        mtu: u32,
    },
    SetUp {
        index: u32,
    },
    AddAddress {
        index: u32,
        address: IpNet,
    },
    RemoveAddress {
        index: u32,
        address: IpNet,
    },
    /// Adds a permanent neighbor, or changes it.
    SetNeighbor {
        index: u32,
        address: IpAddr,
        mac: Mac,
    },
    RemoveNeighbor {
        index: u32,
        address: IpAddr,
    },
    /// Adds a permanent entry of the forwarding database, or changes it.
    SetForwarding {
        index: u32,
        mac: Mac,
        address: IpAddr,
    },
    RemoveForwarding {
        index: u32,
        mac: Mac,
        address: IpAddr,
    },
    /// Adds a route, or replaces the one of the same destination and metric at once.
    SetRoute(Route),
    RemoveRoute(Route),
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::RemoveDevice { index } => write!(f, "remove the link {index}"),
            Operation::CreateDevice(device) => write!(f, "create the link {}", device.name),
            Operation::SetMtu { index, mtu } => write!(f, "set the MTU of link {index} to {mtu}"),
            Operation::SetUp { index } => write!(f, "set up the link {index}"),
            Operation::AddAddress { address, .. } => write!(f, "add the address {address}"),
            Operation::RemoveAddress { address, .. } => write!(f, "remove the address {address}"),
            Operation::SetNeighbor { address, .. } => write!(f, "set the neighbor {address}"),
            Operation::RemoveNeighbor { address, .. } => write!(f, "remove the neighbor {address}"),
            Operation::SetForwarding { mac, .. } => write!(f, "set the forwarding entry {mac}"),
            Operation::RemoveForwarding { mac, .. } => write!(f, "remove the forwarding entry {mac}"),
            Operation::SetRoute(route) => write!(f, "set the route to {}", route.destination),
            Operation::RemoveRoute(route) => write!(f, "remove the route to {}", route.destination),
        }
    }
}
