//! The pod's side of a connection.

use std::fs::File;

use super::conf::{Conf, ContainerInterface};
use super::plan::Plan;
use crate::netlink::addr::{self, Detection};
use crate::netlink::link::{self, Link};
use crate::netlink::route;
use crate::netlink::socket::{PodNet, Socket};
use crate::netns;
use crate::sysctl::{Directory, SysctlError};
use crate::types::Error;

/// Whether others must be told that the pod has its address now (`arp_notify`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announcement {
    /// They may know another hardware address for it.
    Needed,
    /// What they know, if anything, is right.
    Needless,
}

/// Gives the pod's interface its settings, addresses and routes, and returns a socket in the pod's namespace. Addresses first,
/// then up, then routes: the announcement of `arp_notify` goes out when the interface comes up, and routes need it up.
pub(super) fn configure(
    conf: &Conf,
    plan: &Plan,
    namespace: &File,
    pod: &Link,
    announcement: Announcement,
) -> Result<PodNet, Error> {
    let has_ipv6 = plan.addresses.iter().any(|address| address.addr().is_ipv6());
    let socket = netns::visit(namespace, || {
        set_ipv6(conf, &pod.name, has_ipv6)?;
        Ok::<_, Error>(Socket::route()?)
    })??;
    let mut socket = PodNet(socket);
    if announcement == Announcement::Needed {
        let _ = link::announce(&mut socket.0, pod);
    }
    let detection = if conf.duplicate_detection {
        Detection::Kernel
    } else {
        Detection::None
    };
    // Sent together: the kernel's own work after the interface went up would come in between.
    let addresses = plan
        .addresses
        .iter()
        .map(|address| addr::adding(pod, *address, detection));
    let mut requests: Vec<_> = addresses.collect();
    if conf.container_interface == ContainerInterface::Up {
        requests.push(link::setting_up(pod, true));
    }
    requests.extend(plan.routes.iter().map(|wanted| route::adding(pod, wanted)));
    socket.0.execute_all(requests)?;
    Ok(socket)
}

/// The settings that netlink does not know, in the pod's namespace.
fn set_ipv6(conf: &Conf, name: &str, has_ipv6: bool) -> Result<(), SysctlError> {
    let settings = Directory::open("net/ipv6/conf");
    let detection = if conf.duplicate_detection { "1" } else { "0" };
    settings.prefer(&format!("{name}/accept_dad"), detection);
    if conf.ipam.is_some() {
        // Addresses and routes come from the IPAM plugin: any pod on the bridge could announce others
        // (CVE-2020-10749). A network without an IPAM plugin may depend on router advertisements.
        settings.prefer(&format!("{name}/accept_ra"), "0");
    }
    if has_ipv6 {
        settings.set("lo/disable_ipv6", "0")?;
        settings.set(&format!("{name}/disable_ipv6"), "0")?;
        settings.set(&format!("{name}/keep_addr_on_down"), "1")?;
    }
    Ok(())
}
