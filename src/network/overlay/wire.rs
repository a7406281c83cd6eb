//! The wire to the kernel (rtnetlink(7)): listing, listening and carrying operations out. It decides nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::channel::mpsc::UnboundedReceiver;
use futures::{StreamExt as _, TryStreamExt as _};
use ipnet::IpNet;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteMessage, RouteProtocol};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{AddressMessageBuilder, Handle, LinkUnspec, LinkVxlan, MulticastGroup, RouteMessageBuilder};
use tokio::task::JoinHandle;

use super::kernel::Kernel;
use super::operation::{Device, Operation, Route};

/// What is listened to.
const GROUPS: [MulticastGroup; 6] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// Announcements of the kernel.
type Announced = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// Two sockets in the network namespace of the thread that opened them: what one socket asks for is announced to it as an
/// answer, so that another one listens.
pub(super) struct Wire {
    handle: Handle,
    announced: Announced,
    tasks: [JoinHandle<()>; 2],
}

impl Wire {
    /// Opens both. From here on no change is missed.
    pub(super) fn open() -> io::Result<Wire> {
        let (listening, _, announced) = rtnetlink::new_multicast_connection(&GROUPS)?;
        let (asking, handle, _) = rtnetlink::new_connection()?;
        Ok(Wire {
            handle,
            announced,
            tasks: [tokio::spawn(listening), tokio::spawn(asking)],
        })
    }

    /// The next announcement. `None`: some were lost, and none follow. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<RouteNetlinkMessage> {
        loop {
            let (message, _) = self.announced.next().await?;
            if let NetlinkPayload::InnerMessage(message) = message.payload {
                return Some(message);
            }
        }
    }

    /// The next announcement that has come already.
    pub(super) fn waiting(&mut self) -> Option<RouteNetlinkMessage> {
        loop {
            let (message, _) = self.announced.try_recv().ok()?;
            if let NetlinkPayload::InnerMessage(message) = message.payload {
                return Some(message);
            }
        }
    }

    /// Everything that there is now.
    pub(super) async fn list(&self) -> Result<Kernel, rtnetlink::Error> {
        use RouteNetlinkMessage::{NewAddress, NewLink, NewNeighbour, NewRoute};
        let mut kernel = Kernel::default();
        let mut take = |message| {
            kernel.take(&message);
        };
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await? {
            take(NewLink(link));
        }
        let mut addresses = self.handle.address().get().execute();
        while let Some(address) = addresses.try_next().await? {
            take(NewAddress(address));
        }
        let all_routes = [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ];
        for query in all_routes {
            let mut routes = self.handle.route().get(query).execute();
            while let Some(route) = routes.try_next().await? {
                take(NewRoute(route));
            }
        }
        for family in [AddressFamily::Unspec, AddressFamily::Bridge] {
            let neighbors = self.handle.neighbours().get().set_address_family(family);
            let mut neighbors = neighbors.execute();
            while let Some(neighbor) = neighbors.try_next().await? {
                take(NewNeighbour(neighbor));
            }
        }
        Ok(kernel)
    }

    /// Carries an operation out; one whose result is there already has succeeded. A created device is taken into `kernel`,
    /// too.
    pub(super) async fn carry_out(
        &self,
        operation: &Operation,
        kernel: &mut Kernel,
    ) -> Result<(), rtnetlink::Error> {
        match self.ask(operation).await {
            Err(rtnetlink::Error::NetlinkError(error))
                if is_done(operation, Errno::from_raw(-error.raw_code())) => {}
            result => result?,
        }
        if let Operation::CreateDevice(device) = operation {
            let mut links = self.handle.link().get().match_name(device.name.clone()).execute();
            while let Some(link) = links.try_next().await? {
                kernel.take(&RouteNetlinkMessage::NewLink(link));
            }
        }
        kernel.done(operation);
        Ok(())
    }

    async fn ask(&self, operation: &Operation) -> Result<(), rtnetlink::Error> {
        let handle = &self.handle;
        match operation {
            Operation::RemoveDevice { index } => handle.link().del(*index).execute().await,
            Operation::CreateDevice(device) => self.create(device).await,
            Operation::SetMtu { index, mtu } => {
                let link = LinkUnspec::new_with_index(*index).mtu(*mtu).build();
                handle.link().set(link).execute().await
            }
            Operation::SetUp { index } => {
                let link = LinkUnspec::new_with_index(*index).up().build();
                handle.link().set(link).execute().await
            }
            Operation::AddAddress { index, address } => {
                let request = handle.address().add(*index, address.addr(), address.prefix_len());
                request.execute().await
            }
            Operation::RemoveAddress { index, address } => {
                let message = match address {
                    IpNet::V4(net) => AddressMessageBuilder::<Ipv4Addr>::new()
                        .index(*index)
                        .address(net.addr(), net.prefix_len())
                        .build(),
                    IpNet::V6(net) => AddressMessageBuilder::<Ipv6Addr>::new()
                        .index(*index)
                        .address(net.addr(), net.prefix_len())
                        .build(),
                };
                handle.address().del(message).execute().await
            }
            Operation::SetNeighbor { index, address, mac } => {
                let request = handle.neighbours().add(*index, *address);
                request.link_layer_address(&mac.0).replace().execute().await
            }
            Operation::RemoveNeighbor { index, address } => {
                let message = neighbor(*index, AddressFamily::Unspec, *address, &[]);
                handle.neighbours().del(message).execute().await
            }
            Operation::SetForwarding { index, mac, address } => {
                let request = handle.neighbours().add_bridge(*index, &mac.0);
                let request = request.flags(NeighbourFlags::Own).destination(*address);
                request.replace().execute().await
            }
            Operation::RemoveForwarding { index, mac, address } => {
                let message = neighbor(*index, AddressFamily::Bridge, *address, &mac.0);
                handle.neighbours().del(message).execute().await
            }
            Operation::SetRoute(route) => handle.route().add(message(route)).replace().execute().await,
            Operation::RemoveRoute(route) => handle.route().del(message(route)).execute().await,
        }
    }

    /// A device that ignores router advertisements: what a pod of another node may send changes nothing on this host
    /// (CVE-2020-10749).
    async fn create(&self, device: &Device) -> Result<(), rtnetlink::Error> {
        let link = LinkVxlan::new(&device.name, device.vni)
            .dev(device.uplink)
            .port(device.port)
            .learning(false);
        let link = match device.local {
            IpAddr::V4(local) => link.local(local),
            IpAddr::V6(local) => link.local6(local),
        };
        let link = link.address(device.mac.0.to_vec()).mtu(device.mtu);
        self.handle.link().add(link.build()).execute().await?;
        let setting = format!("/proc/sys/net/ipv6/conf/{}/accept_ra", device.name);
        match std::fs::write(&setting, "0\n") {
            Ok(()) => {}
            // A kernel without IPv6 has none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(setting, %error, "cannot disable router advertisements"),
        }
        let up = LinkUnspec::new_with_name(&device.name).up().build();
        self.handle.link().set(up).execute().await
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Whether an error says that the operation's result is there.
fn is_done(operation: &Operation, error: Errno) -> bool {
    match operation {
        Operation::AddAddress { .. } => error == Errno::EEXIST,
        Operation::RemoveDevice { .. }
        | Operation::RemoveNeighbor { .. }
        | Operation::RemoveForwarding { .. } => {
            matches!(error, Errno::ENODEV | Errno::ENOENT)
        }
        Operation::RemoveAddress { .. } => matches!(error, Errno::EADDRNOTAVAIL | Errno::ENODEV),
        Operation::RemoveRoute(_) => matches!(error, Errno::ESRCH | Errno::ENODEV),
        _ => false,
    }
}

fn neighbor(index: u32, family: AddressFamily, address: IpAddr, mac: &[u8]) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    let (own, address) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    message.attributes.push(NeighbourAttribute::Destination(address));
    match family {
        AddressFamily::Bridge => {
            message.header.family = family;
            message.header.flags = NeighbourFlags::Own;
            message
                .attributes
                .push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        }
        _ => message.header.family = own,
    }
    message
}

fn message(route: &Route) -> RouteMessage {
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(route.destination.addr(), route.destination.prefix_len())
        .expect("a network's prefix is of its family")
        .output_interface(route.link)
        .protocol(RouteProtocol::from(route.protocol));
    if let Some(gateway) = route.gateway {
        builder = builder
            .gateway(gateway)
            .expect("a plan's routes are of one family");
    }
    if route.is_onlink {
        builder = builder.onlink();
    }
    if route.metric != 0 {
        builder = builder.priority(route.metric);
    }
    builder.build()
}
