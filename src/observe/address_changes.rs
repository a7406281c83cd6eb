//! The kernel's announcements of changed addresses and default routes (rtnetlink).

use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressScope;
use rtnetlink::MulticastGroup;

use crate::announced::Announced;

/// What is announced.
const GROUPS: [MulticastGroup; 4] = [
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// Begins to listen for changes of addresses and default routes.
pub(super) fn listen() -> io::Result<Announced> {
    Announced::listen(&GROUPS, concerns)
}

/// Whether the node's addresses may depend on what changed. Every pod that starts has a link with link-local addresses
/// and routes of its own, which are no reason to look.
fn concerns(message: &RouteNetlinkMessage) -> bool {
    use RouteNetlinkMessage::{DelAddress, DelRoute, NewAddress, NewRoute};
    match message {
        NewAddress(address) | DelAddress(address) => {
            !matches!(address.header.scope, AddressScope::Link | AddressScope::Host)
        }
        NewRoute(route) | DelRoute(route) => route.header.destination_prefix_length == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::address::AddressMessage;
    use netlink_packet_route::route::RouteMessage;

    use super::*;

    #[test]
    fn what_concerns_the_nodes_addresses() {
        let address = |scope| {
            let mut message = AddressMessage::default();
            message.header.scope = scope;
            message
        };
        let route = |length| {
            let mut message = RouteMessage::default();
            message.header.destination_prefix_length = length;
            message
        };
        for (message, expected) in [
            (
                RouteNetlinkMessage::NewAddress(address(AddressScope::Universe)),
                true,
            ),
            (
                RouteNetlinkMessage::DelAddress(address(AddressScope::Universe)),
                true,
            ),
            (
                RouteNetlinkMessage::NewAddress(address(AddressScope::Link)),
                false,
            ),
            (
                RouteNetlinkMessage::DelAddress(address(AddressScope::Host)),
                false,
            ),
            (RouteNetlinkMessage::NewRoute(route(0)), true),
            (RouteNetlinkMessage::DelRoute(route(0)), true),
            (RouteNetlinkMessage::NewRoute(route(24)), false),
            (RouteNetlinkMessage::GetRoute(route(0)), false),
        ] {
            assert_eq!(concerns(&message), expected, "{message:?}");
        }
    }
}
