//! Executes a plan, in order, and reverts it when a step fails.

use std::fs::File;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use nix::errno::Errno;

use super::conf::{Conf, ContainerInterface, Gateway, Reflection};
use super::included::Work;
use super::plan::{NAMES, Plan, host_end};
use super::pod::{self, Announcement};
use super::random::random_mac;
use super::{gateway, masquerade, senders, wait};
use crate::netlink::addr::Detection;
use crate::netlink::link::{self, Link, Mac, NewVeth};
use crate::netlink::socket::{HostNet, Socket};
use crate::netlink::{addr, bridge, neigh, netconf, route};
use crate::nftables::family::Family;
use crate::owners::Claim;
use crate::request::Request;
use crate::types::{CniResult, Code, Error, Interface};
use crate::{netns, sysctl};

/// The pod's namespace, and a socket beside it.
#[derive(Debug)]
pub struct Nets {
    /// The host's side.
    pub host: HostNet,
    /// The pod's namespace.
    pub namespace: File,
}

impl Nets {
    /// Opens both.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let namespace = netns::open(path)?;
        Ok(Nets {
            host: HostNet(Socket::route()?),
            namespace,
        })
    }
}

/// The two ends of a pod's veth.
struct Ends {
    port: Link,
    pod: Link,
}

/// Connects the pod. After a failure the pod has no interface; the bridge, which belongs to the network, stays.
pub fn connect(
    request: &Request,
    conf: &Conf,
    plan: Plan,
    work: &Work,
    nets: &mut Nets,
) -> Result<CniResult, Error> {
    let bridge = ensure_bridge(&mut nets.host, conf, None)?;
    let pod_mac = match conf.mac.or(plan.mac) {
        Some(mac) => mac,
        // Drawn here, so that nobody needs to ask which one the kernel has drawn.
        None => random_mac()?,
    };
    let ends = add_veth(request, conf, nets, &bridge, pod_mac)?;
    let connected = configure(request, conf, &plan, nets, &bridge, &ends)
        .and_then(|gateway| describe(request, plan, [&bridge, &ends.port, &ends.pod], gateway.as_ref()))
        .and_then(|result| work.add(request, &ends.port, result));
    if connected.is_err() {
        // Deleting one end deletes both. The first error is the one to report.
        let _ = link::delete(&mut nets.host.0, &ends.port);
        if conf.checks_senders {
            let _ = Socket::netfilter().and_then(|mut socket| senders::remove(&mut socket, request));
        }
    }
    connected
}

/// The result of ADD, with the gateway if that is not the bridge.
fn describe(
    request: &Request,
    plan: Plan,
    [bridge, port, pod]: [&Link; 3],
    gateway: Option<&Link>,
) -> Result<CniResult, Error> {
    let interface = |link: &Link, sandbox: &str| Interface {
        name: link.name.clone(),
        mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        mtu: Some(link.mtu),
        sandbox: sandbox.to_string(),
    };
    let sandbox = request.netns()?.to_string_lossy();
    let mut interfaces = vec![
        interface(bridge, ""),
        interface(port, ""),
        interface(pod, &sandbox),
    ];
    interfaces.extend(gateway.map(|gateway| interface(gateway, "")));
    Ok(CniResult {
        interfaces,
        ..plan.result
    })
}

/// Does what is to be done with both ends; returns the gateway if that is not the bridge.
fn configure(
    request: &Request,
    conf: &Conf,
    plan: &Plan,
    nets: &mut Nets,
    bridge: &Link,
    ends: &Ends,
) -> Result<Option<Link>, Error> {
    let port = &ends.port;
    sysctl::prefer_new(&format!("net/ipv6/conf/{}/accept_ra", port.name), "0");
    let gateway = set_up_port(conf, &mut nets.host, bridge, port)?;
    let at = gateway.as_ref().unwrap_or(bridge);
    if let (true, Some(mac)) = (conf.checks_senders, ends.pod.mac) {
        // Before the pod can send.
        senders::ensure(&mut Socket::netfilter()?, request, &port.name, mac, Claim::Later)?;
    }
    let announcement = announcement(plan, &mut nets.host, at);
    let mut pod = pod::configure(conf, plan, &nets.namespace, &ends.pod, announcement)?;
    for address in &plan.gateways {
        ensure_address(&mut nets.host, at, *address, conf.force_address)?;
    }
    if conf.gateway != Gateway::None {
        enable_forwarding(&mut nets.host, &plan.gateways)?;
    }
    if !plan.masquerade.is_empty() {
        masquerade::ensure(&mut Socket::netfilter()?, &request.network, &plan.masquerade)?;
    }
    if conf.container_interface == ContainerInterface::Up {
        wait::until_operational(&mut nets.host, port, bridge)?;
        if let (Announcement::Needless, Some(mac)) = (announcement, ends.pod.mac) {
            // Otherwise frames to the pod would go to all ports until it sends one. A bridge with the spanning tree
            // protocol does not learn yet.
            let _ = neigh::learn(&mut nets.host.0, port, mac);
            // For when the interface comes up again.
            let _ = link::announce(&mut pod.0, &ends.pod);
        }
    }
    if conf.duplicate_detection {
        wait::until_unique(plan, &ends.pod, &mut pod)?;
    }
    Ok(gateway)
}

/// Makes the pod's port what the configuration says: whom it passes frames to, and which VLANs it is in. Ensures the
/// gateway in one of them, and returns that if it is not the bridge.
pub(super) fn set_up_port(
    conf: &Conf,
    host: &mut HostNet,
    bridge: &Link,
    port: &Link,
) -> Result<Option<Link>, Error> {
    if conf.reflection == Reflection::Hairpin {
        link::set_hairpin(&mut host.0, port)?;
    }
    if conf.isolated {
        link::isolate(&mut host.0, port)?;
    }
    let Some(vlans) = &conf.vlans else {
        return Ok(None);
    };
    gateway::put(host, port, &vlans.port, vlans.default)?;
    conf.gateway_vlan()
        .map(|number| gateway::ensure_gateway(host, bridge, number, vlans.default))
        .transpose()
}

/// Whether somebody may know another hardware address for the pod's address: of an earlier pod that was connected by another
/// plugin. The host knows whoever has used it as the gateway.
fn announcement(plan: &Plan, host: &mut HostNet, gateway: &Link) -> Announcement {
    let Some(mac) = plan.mac else {
        return Announcement::Needed;
    };
    let others = plan.addresses.iter().filter(|address| address.addr().is_ipv4());
    let mut known = others.map(|address| neigh::known(&mut host.0, gateway, address.addr()));
    let is_new =
        |known: Result<Option<Mac>, _>| known.is_ok_and(|known| known.is_none_or(|known| known == mac));
    if known.all(is_new) {
        Announcement::Needless
    } else {
        Announcement::Needed
    }
}

/// The bridge, which is made if it is missing, with the given hardware address or a new one.
pub(super) fn ensure_bridge(host: &mut HostNet, conf: &Conf, mac: Option<Mac>) -> Result<Link, Error> {
    let name = conf.bridge.as_str();
    let found = match link::by_name(&mut host.0, name)? {
        Some(found) => found,
        None => {
            let mtu = conf.mtu.or(uplink_mtu(host)?);
            let mac = match mac {
                Some(mac) => mac,
                None => random_mac()?,
            };
            match link::add_bridge(&mut host.0, name, mac, mtu) {
                Ok(()) => {
                    // Its address is random; duplicate address detection would keep the host from resolving its pods'
                    // addresses for a second or two after the first pod.
                    sysctl::prefer(&format!("net/ipv6/conf/{name}/accept_dad"), "0");
                }
                // The ADD of another pod was faster.
                Err(error) if error.errno() == Some(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
            link::by_name(&mut host.0, name)?
                .ok_or_else(|| Error::new(Code::Kernel, format!("bridge {name} disappeared during setup")))?
        }
    };
    if found.kind != "bridge" {
        return Err(Error::invalid(format!(
            "interface {name:?} exists but is not a bridge; choose another bridge name"
        )));
    }
    // Regardless of which program created it: its routes are managed here, and none are accepted from router
    // advertisements of pods (CVE-2020-10749).
    if found.accept_ra != Some(0) {
        sysctl::prefer(&format!("net/ipv6/conf/{name}/accept_ra"), "0");
    }
    if !found.up {
        link::set_up(&mut host.0, &found, true)?;
    }
    if conf.vlans.is_some() && !found.filters_vlans {
        bridge::filter_vlans(&mut host.0, &found)?;
    }
    if conf.checks_senders {
        bridge::ignore_link_local(&mut host.0, &found)?;
    }
    if conf.reflection == Reflection::Promiscuous && found.promiscuity == 0 {
        link::set_promiscuous(&mut host.0, &found)?;
    }
    Ok(found)
}

/// The MTU of the interface by which this host reaches the rest of the world; `None` if it reaches nobody. Packets of pods
/// that are larger would be cut or, worse, lost. The addresses are of networks that only documents have (RFC 5737, RFC
/// 9637), so what leads there is the default route.
fn uplink_mtu(host: &mut HostNet) -> Result<Option<u32>, Error> {
    for anywhere in [
        IpAddr::from([198, 51, 100, 1]),
        IpAddr::from([0x3fff, 0, 0, 0, 0, 0, 0, 1]),
    ] {
        if let Some(index) = route::interface_towards(&mut host.0, anywhere)?
            && let Some(uplink) = link::by_index(&mut host.0, index)?
        {
            // A default route to `lo`, which takes more than other interfaces can, leads nowhere.
            return Ok(Some(uplink.mtu).filter(|mtu| *mtu <= 65535));
        }
    }
    Ok(None)
}

fn add_veth(
    request: &Request,
    conf: &Conf,
    nets: &mut Nets,
    bridge: &Link,
    pod_mac: Mac,
) -> Result<Ends, Error> {
    // Larger packets than the other pods take would be lost between them.
    let mtu = conf.mtu.unwrap_or(bridge.mtu);
    for attempt in 0..NAMES {
        let host_name = host_end(request, attempt);
        let veth = NewVeth {
            host_name: &host_name,
            bridge: bridge.index,
            pod_name: &request.ifname,
            pod_netns: &nets.namespace,
            pod_mac,
            mtu: Some(mtu),
        };
        match link::add_veth(&mut nets.host.0, &veth) {
            Ok(port) => {
                let pod = link::other_end(&port, &request.ifname, pod_mac);
                return Ok(Ends { port, pod });
            }
            Err(error) if error.errno() == Some(Errno::EEXIST) => ensure_free(request, &nets.namespace)?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::new(
        Code::TryAgainLater,
        "no free name for the host end of the veth",
    ))
}

/// An error if the pod has the interface already.
pub fn ensure_free(request: &Request, namespace: &File) -> Result<(), Error> {
    let mut pod = netns::open_socket(namespace)?;
    match link::by_name(&mut pod.0, &request.ifname)? {
        None => Ok(()),
        Some(_) => Err(Error::invalid(format!(
            "interface {} already exists in the pod; call DEL first",
            request.ifname
        ))),
    }
}

/// Gives the bridge, or the gateway in a VLAN, the gateway's address. Another IPv4 address, or an overlapping IPv6 one, conflicts with it.
pub(super) fn ensure_address(
    host: &mut HostNet,
    bridge: &Link,
    wanted: IpNet,
    force: bool,
) -> Result<(), Error> {
    let found = addr::list(&mut host.0, bridge, wanted.addr())?;
    if found.contains(&wanted) {
        return Ok(());
    }
    for other in found {
        if wanted.addr().is_ipv6() && !other.contains(&wanted.addr()) && !wanted.contains(&other.addr()) {
            continue;
        }
        if !force {
            let msg = format!(
                "bridge {:?} has address {other}, not {wanted}: remove it, correct ipam, or set forceAddress",
                bridge.name
            );
            return Err(Error::invalid(msg));
        }
        addr::delete(&mut host.0, bridge, other)?;
    }
    match addr::add(&mut host.0, bridge, wanted, Detection::None) {
        Err(error) if error.errno() == Some(Errno::EEXIST) => return Ok(()),
        other => other?,
    }
    // The address of a bridge that another program created may change with its ports. From now on it is fixed, because
    // the bridge is the gateway.
    if let Some(mac) = bridge.mac {
        link::set_mac(&mut host.0, bridge, mac)?;
    }
    Ok(())
}

fn enable_forwarding(host: &mut HostNet, gateways: &[IpNet]) -> Result<(), Error> {
    for (family, setting) in [
        (Family::V4, "net/ipv4/ip_forward"),
        (Family::V6, "net/ipv6/conf/all/forwarding"),
    ] {
        let has_gateway = gateways
            .iter()
            .any(|gateway| Family::of(gateway.addr()) == family);
        // A kernel that does not tell has its file.
        if has_gateway && !netconf::forwards(&mut host.0, family).unwrap_or(false) {
            sysctl::ensure(setting, "1")?;
        }
    }
    Ok(())
}

/// Deletes the pod's interface, and with it the peer. A missing interface, or a missing pod, is not an error.
pub fn disconnect(path: &Path, ifname: &str) -> Result<(), Error> {
    let namespace = match netns::open(path) {
        Err(netns::NetnsError::Gone { .. }) => return Ok(()),
        other => other?,
    };
    let mut pod = netns::open_socket(&namespace)?;
    if let Some(found) = link::by_name(&mut pod.0, ifname)? {
        link::delete(&mut pod.0, &found)?;
    }
    Ok(())
}
