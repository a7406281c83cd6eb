//! The routes of this host, as the kernel has them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt as _;
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use super::subnet::HostRoute;

/// The unicast routes of the main table, of both IP families.
pub(super) async fn host_routes() -> io::Result<Vec<HostRoute>> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let result = async {
        let mut names = std::collections::HashMap::new();
        let mut links = handle.link().get().execute();
        while let Some(link) = links.try_next().await.map_err(io::Error::other)? {
            for attribute in link.attributes {
                if let netlink_packet_route::link::LinkAttribute::IfName(name) = attribute {
                    names.insert(link.header.index, name);
                }
            }
        }
        let mut found = Vec::new();
        for query in [
            rtnetlink::RouteMessageBuilder::<Ipv4Addr>::new().build(),
            rtnetlink::RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ] {
            let mut routes = handle.route().get(query).execute();
            while let Some(route) = routes.try_next().await.map_err(io::Error::other)? {
                found.extend(host_route(&route, &names));
            }
        }
        Ok(found)
    }
    .await;
    connection.abort();
    result
}

fn host_route(route: &RouteMessage, names: &std::collections::HashMap<u32, String>) -> Option<HostRoute> {
    const MAIN: u8 = 254;
    if route.header.kind != RouteType::Unicast || route.header.table != MAIN {
        return None;
    }
    let mut address = match route.header.address_family {
        AddressFamily::Inet6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::from(Ipv4Addr::UNSPECIFIED),
    };
    let mut device = String::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => address = (*to).into(),
            RouteAttribute::Destination(RouteAddress::Inet6(to)) => address = (*to).into(),
            RouteAttribute::Oif(index) => device = names.get(index).cloned().unwrap_or_default(),
            _ => {}
        }
    }
    let destination = IpNet::new(address, route.header.destination_prefix_length).ok()?;
    Some(HostRoute { destination, device })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_tells_its_routes() {
        let shown = std::fs::read_to_string("/proc/net/route").unwrap();
        let unicast = shown.lines().skip(1).filter(|line| !line.is_empty()).count();
        let routes = host_routes().await.unwrap();
        let ipv4 = routes.iter().filter(|route| route.destination.addr().is_ipv4());
        assert_eq!(ipv4.count(), unicast);
    }
}
