//! Keeps the bridge of gantry's own network: if another program removes it, sets it down or takes its address, it is made
//! again, and the pods are connected to it again ([`gantry_cni::restore()`]). The kernel announces each such change; the look
//! once a minute is for lost announcements.

use std::time::Duration;

use ipnet::IpNet;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressScope;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::MulticastGroup;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::conflist::BRIDGE;
use crate::announced::Announced;

/// What is announced.
const GROUPS: [MulticastGroup; 3] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
];
/// How often the bridge is looked at without an announcement, and announcements are asked for again after a failure.
const LOOK: Duration = Duration::from_secs(60);
/// The pause before listening again, after the kernel had to drop announcements.
const RELISTEN: Duration = Duration::from_secs(1);
/// The pause between two looks: a program that keeps removing the bridge must not cost a whole processor.
const REST: Duration = Duration::from_millis(10);

/// Watches the bridge until canceled. `subnets` are the node's, whose first addresses the bridge has; `restore` connects the
/// pods, whatever is missing.
pub(super) async fn keep<F: Future<Output = ()>>(
    subnets: watch::Receiver<Vec<IpNet>>,
    restore: impl Fn() -> F,
    cancel: CancellationToken,
) {
    loop {
        let watched = async {
            match Announced::listen(&GROUPS, concerns) {
                Ok(announced) => {
                    follow(&subnets, &restore, announced).await;
                    tokio::time::sleep(RELISTEN).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot watch the pods' bridge; looking once a minute");
                    look(&subnets, &restore).await;
                    tokio::time::sleep(LOOK).await;
                }
            }
        };
        // Restoring is idempotent, and may be cancelled between two pods.
        tokio::select! {
            () = cancel.cancelled() => return,
            () = watched => {}
        }
    }
}

/// Looks at every announcement, and at times without one, until announcements were lost.
async fn follow<F: Future<Output = ()>>(
    subnets: &watch::Receiver<Vec<IpNet>>,
    restore: &impl Fn() -> F,
    mut announced: Announced,
) {
    loop {
        look(subnets, restore).await;
        // Either arm only waits, and an announcement that was not taken stays.
        tokio::select! {
            next = announced.next() => match next {
                Some(()) => tokio::time::sleep(REST).await,
                None => return,
            },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn look<F: Future<Output = ()>>(subnets: &watch::Receiver<Vec<IpNet>>, restore: &impl Fn() -> F) {
    if !is_whole(subnets).await {
        restore().await;
    }
}

/// Whether the bridge is there, up, and has an address in each subnet. What cannot be asked counts as whole.
async fn is_whole(subnets: &watch::Receiver<Vec<IpNet>>) -> bool {
    let subnets = subnets.borrow().clone();
    let asked = tokio::task::spawn_blocking(move || gantry_cni::bridge::is_whole(BRIDGE, &subnets)).await;
    match asked.expect("talking to the kernel does not panic") {
        Ok(is_whole) => is_whole,
        Err(error) => {
            tracing::warn!(%error, "cannot look at the pods' bridge");
            true
        }
    }
}

/// Whether the bridge may lack something now. Every pod that starts or ends changes links, which is no reason to look.
fn concerns(message: &RouteNetlinkMessage) -> bool {
    use RouteNetlinkMessage::{DelAddress, DelLink, NewLink};
    match message {
        DelLink(link) => is_bridge(link),
        NewLink(link) => is_bridge(link) && !link.header.flags.contains(LinkFlags::Up),
        // The addresses of pods are in namespaces of their own; their ends on the host have link-local ones.
        DelAddress(address) => address.header.scope != AddressScope::Link,
        _ => false,
    }
}

fn is_bridge(link: &LinkMessage) -> bool {
    let mut attributes = link.attributes.iter();
    attributes.any(|attribute| matches!(attribute, LinkAttribute::IfName(name) if name == BRIDGE))
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::address::AddressMessage;

    use super::*;

    #[test]
    fn only_what_takes_the_bridge_is_a_reason_to_look() {
        let link = |name: &str, flags| {
            let mut link = LinkMessage::default();
            link.header.flags = flags;
            link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
            link
        };
        let mut of_pod = AddressMessage::default();
        of_pod.header.scope = AddressScope::Link;
        let (up, down) = (LinkFlags::Up, LinkFlags::empty());
        for (message, expected) in [
            (RouteNetlinkMessage::DelLink(link(BRIDGE, up)), true),
            (RouteNetlinkMessage::NewLink(link(BRIDGE, down)), true),
            (RouteNetlinkMessage::NewLink(link(BRIDGE, up)), false),
            (RouteNetlinkMessage::DelLink(link("veth1", up)), false),
            (RouteNetlinkMessage::NewLink(link("veth1", down)), false),
            (RouteNetlinkMessage::DelAddress(AddressMessage::default()), true),
            (RouteNetlinkMessage::DelAddress(of_pod), false),
            (RouteNetlinkMessage::NewAddress(AddressMessage::default()), false),
        ] {
            assert_eq!(concerns(&message), expected, "{message:?}");
        }
    }
}
