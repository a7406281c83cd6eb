//! What the kernel announces of routes, neighbors and forwarding entries, and when.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

/// Room for what is announced while this program does not run: ten times what five hundred peers are.
const ROOM: usize = 16 << 20;
/// What takes longer never comes.
const LONGEST: Duration = Duration::from_secs(30);

/// One thing of the kernel's that leads to a peer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// By the first address of what it leads to.
    Route(IpAddr),
    Neighbor(IpAddr),
    /// By the tunnel endpoint's MAC address.
    Forwarding(Vec<u8>),
}

/// What was announced: that something is there, or is not any more.
pub struct Announced(Receiver<(Fact, bool, Instant)>);

impl Announced {
    /// Listens from now on, in the network namespace of this thread, until the process ends.
    pub fn listen() -> Announced {
        let mut socket = Socket::new(NETLINK_ROUTE).expect("the kernel has it");
        setsockopt(&socket, sockopt::RcvBufForce, &ROOM).expect("root may");
        socket.bind(&SocketAddr::new(0, 0)).expect("a free address");
        for group in [MulticastGroup::Neigh, MulticastGroup::Ipv4Route] {
            socket.add_membership(group as u32).expect("the kernel has it");
        }
        let (sender, receiver) = channel();
        std::thread::spawn(move || listen(&socket, &sender));
        Announced(receiver)
    }

    /// Waits until all of these were announced; when the last one was.
    #[track_caller]
    pub fn wait(&self, mut awaited: BTreeSet<(Fact, bool)>) -> Instant {
        let begun = Instant::now();
        let mut last = begun;
        while !awaited.is_empty() {
            let left = LONGEST.saturating_sub(begun.elapsed());
            let Ok((fact, is_there, at)) = self.0.recv_timeout(left) else {
                panic!("{} were not announced, like {:?}", awaited.len(), awaited.first());
            };
            if awaited.remove(&(fact, is_there)) {
                last = at;
            }
        }
        last
    }
}

fn listen(socket: &Socket, sender: &Sender<(Fact, bool, Instant)>) {
    loop {
        let (bytes, _) = socket.recv_from_full().expect("there is room for all");
        let at = Instant::now();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::deserialize(rest).expect("the kernel's messages are sound");
            // The next one begins at a multiple of four bytes.
            let length = usize::try_from(message.header.length.next_multiple_of(4)).expect("it was received");
            rest = rest.get(length..).unwrap_or_default();
            let NetlinkPayload::InnerMessage(message) = message.payload else {
                continue;
            };
            if let Some((fact, is_there)) = fact(&message)
                && sender.send((fact, is_there, at)).is_err()
            {
                return;
            }
        }
    }
}

fn fact(message: &RouteNetlinkMessage) -> Option<(Fact, bool)> {
    use RouteNetlinkMessage::{DelNeighbour, DelRoute, NewNeighbour, NewRoute};
    match message {
        NewRoute(route) => Some((of_route(route)?, true)),
        DelRoute(route) => Some((of_route(route)?, false)),
        // One that is removed is announced as failed first.
        NewNeighbour(neighbor) if neighbor.header.state != NeighbourState::Permanent => None,
        NewNeighbour(neighbor) => Some((of_neighbor(neighbor)?, true)),
        DelNeighbour(neighbor) => Some((of_neighbor(neighbor)?, false)),
        _ => None,
    }
}

fn of_route(route: &RouteMessage) -> Option<Fact> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(Fact::Route((*address).into())),
        _ => None,
    })
}

fn of_neighbor(neighbor: &NeighbourMessage) -> Option<Fact> {
    let is_forwarding = neighbor.header.family == AddressFamily::Bridge;
    neighbor.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(mac) if is_forwarding => Some(Fact::Forwarding(mac.clone())),
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) if !is_forwarding => {
            Some(Fact::Neighbor((*address).into()))
        }
        _ => None,
    })
}
