//! The kernel's announcements of changed addresses and default routes (rtnetlink).

use std::io;

use futures::StreamExt as _;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressScope;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What is announced.
const GROUPS: [MulticastGroup; 4] = [
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// The announcements since [`Changes::listen`].
pub(super) struct Changes {
    /// At most one waits: that something changed says all of them.
    announced: mpsc::Receiver<()>,
    reader: JoinHandle<()>,
}

impl Changes {
    /// Begins to listen, in the network namespace of this process.
    pub(super) fn listen() -> io::Result<Changes> {
        let (connection, _, mut messages) = rtnetlink::new_multicast_connection(&GROUPS)?;
        let (announce, announced) = mpsc::channel(1);
        let reader = tokio::spawn(async move {
            let sift = async {
                while let Some((message, _)) = messages.next().await {
                    if let NetlinkPayload::InnerMessage(message) = message.payload
                        && concerns(&message)
                    {
                        // If one waits already, that one serves for both.
                        let _ = announce.try_send(());
                    }
                }
            };
            // The connection ends when the kernel had to drop announcements; it is opened again then.
            tokio::select! {
                () = connection => {}
                () = sift => {}
            }
        });
        Ok(Changes { announced, reader })
    }

    /// Waits for the next change of an address or a default route. `None`: announcements were lost, and no more follow.
    /// Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<()> {
        self.announced.recv().await
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.reader.abort();
    }
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
