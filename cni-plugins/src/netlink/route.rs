//! Routes (man 7 rtnetlink, `RTM_*ROUTE`).

use std::net::IpAddr;

use ipnet::IpNet;
use nix::errno::Errno;
use nix::libc;

use super::addr::{family_of, ip_bytes, ip_from};
use super::link::{Link, family};
use super::message::{Message, find, read_u32};
use super::socket::{NetlinkError, Socket};

/// linux/rtnetlink.h `RTAX_MTU`
const METRIC_MTU: u16 = 2;
/// linux/rtnetlink.h `RTAX_ADVMSS`
const METRIC_ADVMSS: u16 = 8;

/// A route to be added, or one found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// The addresses it leads to.
    pub destination: IpNet,
    /// The next hop; without one the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Its metric (`priority` in CNI).
    pub priority: Option<u32>,
    /// The routing table; the main one otherwise.
    pub table: Option<u32>,
    /// man 7 rtnetlink, `rtm_scope`.
    pub scope: Option<u8>,
    /// The largest packet along it.
    pub mtu: Option<u32>,
    /// The largest TCP segment to advertise.
    pub advmss: Option<u32>,
}

impl Route {
    /// The route to `destination` by `gateway` in the main table.
    pub fn new(destination: IpNet, gateway: Option<IpAddr>) -> Self {
        Route {
            destination,
            gateway,
            priority: None,
            table: None,
            scope: None,
            mtu: None,
            advmss: None,
        }
    }
}

/// Adds a route by `link`. Beside one to the same place by another next hop it stands first, as with the `ip route
/// prepend` of the plugins of containernetworking; the very same one is refused.
pub fn add(socket: &mut Socket, link: &Link, route: &Route) -> Result<(), NetlinkError> {
    let (action, message) = adding(link, route);
    socket.execute(&action, message)
}

/// The request to add a route as [`add`] does, for [`Socket::execute_all`].
pub fn adding(link: &Link, route: &Route) -> (String, Message) {
    let on_link = if route.gateway.is_none() {
        libc::RT_SCOPE_LINK
    } else {
        libc::RT_SCOPE_UNIVERSE
    };
    let table = route.table.unwrap_or(u32::from(libc::RT_TABLE_MAIN));
    let body = [
        family_of(route.destination.addr()),
        route.destination.prefix_len(),
        0,
        0,
        u8::try_from(table).unwrap_or(libc::RT_TABLE_UNSPEC),
        libc::RTPROT_BOOT,
        route.scope.unwrap_or(on_link),
        libc::RTN_UNICAST,
        0,
        0,
        0,
        0,
    ];
    let mut message = Message::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE, &body);
    message.attr(libc::RTA_DST, &ip_bytes(route.destination.network()));
    message
        .attr_u32(libc::RTA_OIF, link.index)
        .attr_u32(libc::RTA_TABLE, table);
    if let Some(gateway) = route.gateway {
        message.attr(libc::RTA_GATEWAY, &ip_bytes(gateway));
    }
    if let Some(priority) = route.priority {
        message.attr_u32(libc::RTA_PRIORITY, priority);
    }
    if route.mtu.is_some() || route.advmss.is_some() {
        message.nest(libc::RTA_METRICS, |metrics| {
            for (kind, value) in [(METRIC_MTU, route.mtu), (METRIC_ADVMSS, route.advmss)] {
                if let Some(value) = value {
                    metrics.attr_u32(kind, value);
                }
            }
        });
    }
    let by = route
        .gateway
        .map(|gateway| format!(" via {gateway}"))
        .unwrap_or_default();
    let action = format!("add route {}{by} dev {}", route.destination, link.name);
    (action, message)
}

/// The unicast routes by `link`, of the family of `like`, in all tables.
pub fn list(socket: &mut Socket, link: &Link, like: IpAddr) -> Result<Vec<Route>, NetlinkError> {
    let mut body = [0; 12];
    body[0] = family_of(like);
    let replies = socket.dump("list routes", Message::new(libc::RTM_GETROUTE, 0, &body))?;
    let mut routes = Vec::new();
    for reply in replies {
        let attributes = reply.body.get(12..).unwrap_or_default();
        let number = |kind| find(attributes, kind).and_then(|value| read_u32(value, 0));
        let unicast = reply.body.get(7) == Some(&libc::RTN_UNICAST);
        if !unicast
            || number(libc::RTA_OIF) != Some(link.index)
            || family(&reply.body) != i32::from(family_of(like))
        {
            continue;
        }
        let any = if like.is_ipv4() {
            IpAddr::from([0; 4])
        } else {
            IpAddr::from([0; 16])
        };
        let address = find(attributes, libc::RTA_DST).and_then(ip_from).unwrap_or(any);
        let Ok(destination) = IpNet::new(address, reply.body.get(1).copied().unwrap_or_default()) else {
            continue;
        };
        routes.push(Route {
            gateway: find(attributes, libc::RTA_GATEWAY).and_then(ip_from),
            priority: number(libc::RTA_PRIORITY),
            table: number(libc::RTA_TABLE),
            scope: reply.body.get(6).copied(),
            ..Route::new(destination, None)
        });
    }
    Ok(routes)
}

/// The address from which this host sends to `destination`; `None` where no route leads there.
pub fn source_towards(socket: &mut Socket, destination: IpAddr) -> Result<Option<IpAddr>, NetlinkError> {
    let attributes = towards(socket, destination)?.unwrap_or_default();
    Ok(find(&attributes, libc::RTA_PREFSRC).and_then(ip_from))
}

/// The interface by which this host sends to `destination`; `None` where no route leads there.
pub fn interface_towards(socket: &mut Socket, destination: IpAddr) -> Result<Option<u32>, NetlinkError> {
    let attributes = towards(socket, destination)?.unwrap_or_default();
    Ok(find(&attributes, libc::RTA_OIF).and_then(|value| read_u32(value, 0)))
}

/// The attributes of the route to `destination`.
fn towards(socket: &mut Socket, destination: IpAddr) -> Result<Option<Vec<u8>>, NetlinkError> {
    let mut body = [0; 12];
    body[0] = family_of(destination);
    body[1] = if destination.is_ipv4() { 32 } else { 128 };
    let mut message = Message::new(libc::RTM_GETROUTE, 0, &body);
    message.attr(libc::RTA_DST, &ip_bytes(destination));
    match socket.get(&format!("find the route to {destination}"), message) {
        Ok(reply) => Ok(Some(reply.body.get(12..).unwrap_or_default().to_vec())),
        Err(error) if matches!(error.errno(), Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH)) => Ok(None),
        Err(error) => Err(error),
    }
}
