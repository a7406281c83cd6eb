//! What the kernel has of links, addresses, routes and neighbors, as far as the overlay's plan looks at it. Pure: it is
//! told what the kernel lists and announces, in the same messages.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::operation::{Operation, Route};
use crate::model::overlay::Mac;

/// The main routing table (`RT_TABLE_MAIN`).
const MAIN: u32 = 254;

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) mtu: u32,
    pub(super) is_up: bool,
    pub(super) mac: Option<Mac>,
    /// Present for a VXLAN device.
    pub(super) vxlan: Option<Vxlan>,
}

/// The settings of a VXLAN device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Vxlan {
    pub(super) vni: u32,
    pub(super) port: u16,
    pub(super) local: Option<IpAddr>,
    /// The link that its packets leave by.
    pub(super) uplink: Option<u32>,
    pub(super) learns: bool,
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    Nothing,
    /// Something is different now.
    Change,
    /// More may be different: IPv4 routes go without a word when their link goes down or loses its last address
    /// (`fib_flush` in net/ipv4/fib_frontend.c). Everything has to be listed.
    Unsaid,
}

impl From<bool> for News {
    fn from(is_change: bool) -> News {
        match is_change {
            true => News::Change,
            false => News::Nothing,
        }
    }
}

/// What was last heard of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Kernel {
    pub(super) links: BTreeMap<u32, Link>,
    /// By link.
    pub(super) addresses: BTreeMap<u32, BTreeSet<IpNet>>,
    pub(super) routes: BTreeSet<Route>,
    /// The permanent ones, by link and address.
    pub(super) neighbors: BTreeMap<(u32, IpAddr), Mac>,
    /// The permanent entries that say at which address a VXLAN device reaches a station, by link.
    pub(super) forwarding: BTreeMap<(u32, Mac), IpAddr>,
}

impl Kernel {
    /// Takes in a message.
    pub(super) fn take(&mut self, message: &RouteNetlinkMessage) -> News {
        use RouteNetlinkMessage as Message;
        let is_change = match message {
            Message::NewLink(link) => self.take_link(link),
            Message::DelLink(link) => self.forget_link(link.header.index),
            Message::NewAddress(address) => self.take_address(address, true),
            Message::DelAddress(address) => self.take_address(address, false),
            Message::NewRoute(route) => route_of(route).is_some_and(|route| self.take_route(route)),
            Message::DelRoute(route) => route_of(route).is_some_and(|route| self.routes.remove(&route)),
            Message::NewNeighbour(neighbor) => self.take_neighbor(neighbor, true),
            Message::DelNeighbour(neighbor) => self.take_neighbor(neighbor, false),
            _ => false,
        };
        let link = match message {
            Message::NewLink(link) if !link.header.flags.contains(LinkFlags::Up) => Some(link.header.index),
            Message::DelAddress(address) => Some(address.header.index),
            _ => None,
        };
        // A pod's link has no route via a gateway.
        let has_led = |link| {
            let mut routes = self.routes.iter();
            routes.any(|route| route.link == link && route.gateway.is_some())
        };
        match link.is_some_and(has_led) {
            true if is_change => News::Unsaid,
            _ => is_change.into(),
        }
    }

    /// Takes in what an operation has done, which is also announced, later. A created device is announced alone.
    pub(super) fn done(&mut self, operation: &Operation) {
        match operation.clone() {
            Operation::CreateDevice(_) => {}
            Operation::RemoveDevice { index } => {
                self.forget_link(index);
            }
            Operation::SetMtu { index, mtu } => self.change_link(index, |link| link.mtu = mtu),
            Operation::SetUp { index } => self.change_link(index, |link| link.is_up = true),
            Operation::AddAddress { index, address } => {
                self.addresses.entry(index).or_default().insert(address);
            }
            Operation::RemoveAddress { index, address } => {
                self.addresses.entry(index).or_default().remove(&address);
            }
            Operation::SetNeighbor { index, address, mac } => {
                self.neighbors.insert((index, address), mac);
            }
            Operation::RemoveNeighbor { index, address } => {
                self.neighbors.remove(&(index, address));
            }
            Operation::SetForwarding { index, mac, address } => {
                self.forwarding.insert((index, mac), address);
            }
            Operation::RemoveForwarding { index, mac, .. } => {
                self.forwarding.remove(&(index, mac));
            }
            Operation::SetRoute(route) => {
                self.take_route(route);
            }
            Operation::RemoveRoute(route) => {
                self.routes.remove(&route);
            }
        }
    }

    fn change_link(&mut self, index: u32, change: impl FnOnce(&mut Link)) {
        if let Some(link) = self.links.get_mut(&index) {
            change(link);
        }
    }

    /// The link of this name.
    pub(super) fn link(&self, name: &str) -> Option<(u32, &Link)> {
        let found = self.links.iter().find(|(_, link)| link.name == name);
        found.map(|(index, link)| (*index, link))
    }

    /// The link that has this address, and the address with its prefix.
    pub(super) fn link_of(&self, address: IpAddr) -> Option<(u32, &Link, IpNet)> {
        self.addresses.iter().find_map(|(index, nets)| {
            let net = nets.iter().find(|net| net.addr() == address)?;
            Some((*index, self.links.get(index)?, *net))
        })
    }

    fn take_link(&mut self, message: &LinkMessage) -> bool {
        let mut link = Link {
            name: String::new(),
            mtu: 0,
            is_up: message.header.flags.contains(LinkFlags::Up),
            mac: None,
            vxlan: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Address(bytes) => link.mac = mac(bytes),
                LinkAttribute::LinkInfo(infos) => link.vxlan = infos.iter().find_map(vxlan),
                _ => {}
            }
        }
        // An announcement of a bridge's port is about the same link and has less of it.
        if message.header.interface_family == AddressFamily::Bridge {
            return false;
        }
        let index = message.header.index;
        let before = self.links.insert(index, link.clone());
        // Most links are pods', which have no address of their own and are nothing that a plan looks at.
        let matters = link.vxlan.is_some() || self.addresses.contains_key(&index);
        matters && before != Some(link)
    }

    /// What is on a link goes with it; not all of that is announced.
    fn forget_link(&mut self, index: u32) -> bool {
        let had_address = self.addresses.remove(&index).is_some();
        self.routes.retain(|route| route.link != index);
        self.neighbors.retain(|(link, _), _| *link != index);
        self.forwarding.retain(|(link, _), _| *link != index);
        let link = self.links.remove(&index);
        had_address || link.is_some_and(|link| link.vxlan.is_some())
    }

    fn take_address(&mut self, message: &AddressMessage, exists: bool) -> bool {
        let mut found = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(address) => found = Some(*address),
                AddressAttribute::Address(address) => found = found.or(Some(*address)),
                _ => {}
            }
        }
        let net = found.and_then(|address| IpNet::new(address, message.header.prefix_len).ok());
        let Some(net) = net.filter(|net| !is_link_local(*net)) else {
            return false;
        };
        let of_link = self.addresses.entry(message.header.index).or_default();
        match exists {
            true => of_link.insert(net),
            false => of_link.remove(&net),
        }
    }

    /// The routes to exactly these addresses. They stand beside each other: a route's order begins with its destination.
    pub(super) fn routes_to(&self, destination: IpNet) -> impl Iterator<Item = &Route> {
        let first = Route {
            destination,
            gateway: None,
            link: 0,
            is_onlink: false,
            protocol: 0,
            metric: 0,
        };
        let from_first = self.routes.range(first..);
        from_first.take_while(move |route| route.destination == destination)
    }

    /// A route that replaces another one is announced alone: there is one of a destination, metric and, for IPv4, gateway.
    fn take_route(&mut self, route: Route) -> bool {
        let others = self.routes_to(route.destination);
        let replaced: Vec<Route> = others
            .filter(|other| other.metric == route.metric && **other != route)
            .cloned()
            .collect();
        for other in replaced {
            self.routes.remove(&other);
        }
        self.routes.insert(route)
    }

    fn take_neighbor(&mut self, message: &NeighbourMessage, exists: bool) -> bool {
        let (mut lladdr, mut destination) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::LinkLayerAddress(bytes) => lladdr = mac(bytes),
                NeighbourAttribute::Destination(address) => destination = neighbor_address(address),
                _ => {}
            }
        }
        let link = message.header.ifindex;
        let Some(address) = destination else {
            return false;
        };
        let stays = exists && message.header.state == NeighbourState::Permanent;
        match (message.header.family == AddressFamily::Bridge, lladdr) {
            (true, Some(mac)) if stays => self.forwarding.insert((link, mac), address) != Some(address),
            (true, Some(mac)) if self.forwarding.get(&(link, mac)) == Some(&address) => {
                self.forwarding.remove(&(link, mac)).is_some()
            }
            (true, _) => false,
            (false, Some(mac)) if stays => self.neighbors.insert((link, address), mac) != Some(mac),
            (false, _) => self.neighbors.remove(&(link, address)).is_some(),
        }
    }
}

/// Of an entry of the forwarding database only the length says which family its address is of.
fn neighbor_address(address: &NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(address) => Some(IpAddr::V4(*address)),
        NeighbourAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        NeighbourAddress::Other(bytes) => {
            let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from))
                .ok()
        }
        _ => None,
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

fn vxlan(info: &LinkInfo) -> Option<Vxlan> {
    let LinkInfo::Data(InfoData::Vxlan(infos)) = info else {
        return None;
    };
    let mut vxlan = Vxlan::default();
    for info in infos {
        match info {
            InfoVxlan::Id(vni) => vxlan.vni = *vni,
            InfoVxlan::Port(port) => vxlan.port = *port,
            InfoVxlan::Local(address) => vxlan.local = Some((*address).into()),
            InfoVxlan::Local6(address) => vxlan.local = Some((*address).into()),
            InfoVxlan::Link(link) => vxlan.uplink = Some(*link),
            InfoVxlan::Learning(learns) => vxlan.learns = *learns,
            _ => {}
        }
    }
    Some(vxlan)
}

fn route_of(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let mut table = u32::from(header.table);
    let (mut destination, mut gateway, mut link, mut metric) = (None, None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    if header.kind != RouteType::Unicast || table != MAIN {
        return None;
    }
    let destination = IpNet::new(destination?, header.destination_prefix_length).ok()?;
    if is_link_local(destination) {
        return None;
    }
    Some(Route {
        destination,
        gateway,
        link: link?,
        is_onlink: header.flags.contains(RouteFlags::Onlink),
        protocol: protocol(header.protocol),
        metric,
    })
}

/// Every link has one of these; none says anything about the pod network.
fn is_link_local(net: IpNet) -> bool {
    matches!(net.addr(), IpAddr::V6(address) if address.is_unicast_link_local())
}

fn protocol(protocol: RouteProtocol) -> u8 {
    protocol.into()
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::{InfoKind, LinkHeader};

    use super::*;

    fn link(index: u32, name: &str, is_vxlan: bool) -> RouteNetlinkMessage {
        let mut message = LinkMessage::default();
        message.header = LinkHeader {
            index,
            flags: LinkFlags::Up,
            ..LinkHeader::default()
        };
        message.attributes = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Mtu(1500)];
        if is_vxlan {
            let data = InfoData::Vxlan(vec![InfoVxlan::Id(1)]);
            let infos = vec![LinkInfo::Kind(InfoKind::Vxlan), LinkInfo::Data(data)];
            message.attributes.push(LinkAttribute::LinkInfo(infos));
        }
        RouteNetlinkMessage::NewLink(message)
    }

    fn address(index: u32, net: &str) -> AddressMessage {
        let net: IpNet = net.parse().unwrap();
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = net.prefix_len();
        message.attributes = vec![AddressAttribute::Address(net.addr())];
        message
    }

    fn route(link: u32, destination: &str, gateway: Option<&str>) -> RouteMessage {
        let net: IpNet = destination.parse().unwrap();
        let mut message = RouteMessage::default();
        message.header.destination_prefix_length = net.prefix_len();
        message.header.kind = RouteType::Unicast;
        message.header.table = 254;
        message.attributes = vec![
            RouteAttribute::Destination(net.addr().into()),
            RouteAttribute::Oif(link),
        ];
        let gateway = gateway.map(|gateway| gateway.parse::<IpAddr>().unwrap());
        message
            .attributes
            .extend(gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
        message
    }

    #[test]
    fn a_pod_that_comes_and_goes_is_no_news() {
        use RouteNetlinkMessage::{DelLink, NewAddress, NewRoute};
        let mut kernel = Kernel::default();
        assert_eq!(kernel.take(&link(7, "veth7", false)), News::Nothing);
        assert_eq!(kernel.take(&NewAddress(address(7, "fe80::1/64"))), News::Nothing);
        assert_eq!(kernel.take(&NewRoute(route(7, "fe80::/64", None))), News::Nothing);
        let RouteNetlinkMessage::NewLink(gone) = link(7, "veth7", false) else {
            unreachable!("it is one")
        };
        assert_eq!(kernel.take(&DelLink(gone)), News::Nothing);
        assert_eq!(kernel.take(&link(8, "flannel.1", true)), News::Change);
        assert_eq!(kernel.take(&link(8, "flannel.1", true)), News::Nothing);
    }

    #[test]
    fn when_a_link_with_ways_loses_its_address_or_goes_down_more_may_have_changed() {
        use RouteNetlinkMessage::{DelAddress, NewAddress, NewRoute};
        let mut kernel = Kernel::default();
        assert_eq!(kernel.take(&link(2, "eth0", false)), News::Nothing);
        assert_eq!(kernel.take(&NewAddress(address(2, "192.0.2.1/24"))), News::Change);
        assert_eq!(
            kernel.take(&NewRoute(route(2, "192.0.2.0/24", None))),
            News::Change
        );
        assert_eq!(kernel.take(&DelAddress(address(2, "192.0.2.1/24"))), News::Change);
        assert_eq!(kernel.take(&NewAddress(address(2, "192.0.2.1/24"))), News::Change);
        let by_node = route(2, "10.244.2.0/24", Some("192.0.2.2"));
        assert_eq!(kernel.take(&NewRoute(by_node)), News::Change);
        assert_eq!(kernel.take(&DelAddress(address(2, "192.0.2.1/24"))), News::Unsaid);
        let RouteNetlinkMessage::NewLink(mut down) = link(2, "eth0", false) else {
            unreachable!("it is one")
        };
        down.header.flags = LinkFlags::empty();
        assert_eq!(kernel.take(&RouteNetlinkMessage::NewLink(down)), News::Unsaid);
    }

    #[test]
    fn an_entry_of_the_forwarding_database_has_the_address_of_either_family() {
        let mut kernel = Kernel::default();
        let mut entry = NeighbourMessage::default();
        entry.header.family = AddressFamily::Bridge;
        entry.header.ifindex = 8;
        entry.header.state = NeighbourState::Permanent;
        for bytes in [vec![192, 0, 2, 2], vec![1; 16]] {
            entry.attributes = vec![
                NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 9]),
                NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)),
            ];
            let added = RouteNetlinkMessage::NewNeighbour(entry.clone());
            assert_eq!(kernel.take(&added), News::Change);
            assert_eq!(kernel.take(&added), News::Nothing);
            assert_eq!(
                kernel.take(&RouteNetlinkMessage::DelNeighbour(entry.clone())),
                News::Change
            );
            assert_eq!(kernel.forwarding, BTreeMap::new());
        }
    }
}
