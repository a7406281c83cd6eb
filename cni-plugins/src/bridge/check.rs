//! CHECK: whether everything in the result of ADD still exists.

use std::collections::HashSet;
use std::net::IpAddr;

use super::apply::Nets;
use super::conf::{Conf, ContainerInterface, Gateway, Reflection};
use super::plan::{gateway_address, routes_of};
use super::{gateway, masquerade, senders, vlan};
use crate::netlink::link::{self, Link};
use crate::netlink::socket::{PodNet, Socket};
use crate::netlink::{addr, route};
use crate::netns;
use crate::request::Request;
use crate::types::{CniResult, Code, Error, Interface};

/// Compares the result of ADD with the kernel; the first difference is the error.
pub fn check(request: &Request, conf: &Conf, result: &CniResult, nets: &mut Nets) -> Result<(), Error> {
    let mut inside = netns::open_socket(&nets.namespace)?;
    let sandbox = request.netns()?.to_string_lossy();
    let named = |name: &str, sandbox: &str| {
        let found = result
            .interfaces
            .iter()
            .find(|one| one.name == name && one.sandbox == sandbox);
        found.ok_or_else(|| Error::invalid(format!("prevResult does not contain interface {name}")))
    };
    let bridge = same(
        link::by_name(&mut nets.host.0, &conf.bridge)?,
        named(&conf.bridge, "")?,
        ContainerInterface::Up,
    )?;
    let pod = same(
        link::by_name(&mut inside.0, &request.ifname)?,
        named(&request.ifname, &sandbox)?,
        conf.container_interface,
    )?;
    if bridge.kind != "bridge" {
        return Err(Error::changed(format!("{} is no longer a bridge", bridge.name)));
    }
    if conf.reflection == Reflection::Promiscuous && bridge.promiscuity == 0 {
        return Err(Error::changed(format!(
            "bridge {} is no longer in promiscuous mode",
            bridge.name
        )));
    }
    let port = check_port(conf, &bridge, &pod, nets, result)?;
    if let (true, Some(mac)) = (conf.checks_senders, pod.mac)
        && let Some(difference) = senders::missing(&mut Socket::netfilter()?, request, &port.name, mac)?
    {
        return Err(Error::changed(difference));
    }
    check_pod(&pod, result, &mut inside)?;
    let in_vlan = check_vlans(conf, &bridge, &port, nets, result)?;
    let gateway = in_vlan.as_ref().unwrap_or(&bridge);
    if conf.gateway != Gateway::None {
        for wanted in result.ips.iter().filter_map(gateway_address) {
            if !addr::list(&mut nets.host.0, gateway, wanted.addr())?.contains(&wanted) {
                return Err(Error::changed(format!(
                    "{} {} no longer has address {wanted}",
                    gateway.kind, gateway.name
                )));
            }
        }
    }
    if conf.masquerade {
        let subnets: Vec<_> = result.ips.iter().map(|ip| ip.address).collect();
        if let Some(subnet) = masquerade::missing(&mut Socket::netfilter()?, &request.network, &subnets)? {
            return Err(Error::changed(format!(
                "the nftables rule that masquerades {subnet} is missing"
            )));
        }
    }
    Ok(())
}

/// The interface, if it exists, is up if it must be, and has the address of the result.
fn same(found: Option<Link>, wanted: &Interface, state: ContainerInterface) -> Result<Link, Error> {
    let name = &wanted.name;
    let found =
        found.ok_or_else(|| Error::new(Code::UnknownContainer, format!("interface {name} is missing")))?;
    if !found.up && state == ContainerInterface::Up {
        return Err(Error::changed(format!("interface {name} is down")));
    }
    let mac = found.mac.map(|mac| mac.to_string()).unwrap_or_default();
    if !wanted.mac.is_empty() && !wanted.mac.eq_ignore_ascii_case(&mac) {
        return Err(Error::changed(format!(
            "interface {name} has address {mac}, not {} as ADD reported",
            wanted.mac
        )));
    }
    Ok(found)
}

/// The host's end, if it is the pod's peer, listed in the result, and a port of the bridge.
fn check_port(
    conf: &Conf,
    bridge: &Link,
    pod: &Link,
    nets: &mut Nets,
    result: &CniResult,
) -> Result<Link, Error> {
    for wanted in result
        .interfaces
        .iter()
        .filter(|one| one.sandbox.is_empty() && one.name != bridge.name)
    {
        let Some(port) = link::by_name(&mut nets.host.0, &wanted.name)? else {
            continue;
        };
        if pod.peer != Some(port.index) || port.peer != Some(pod.index) {
            continue;
        }
        same(Some(port.clone()), wanted, ContainerInterface::Up)?;
        if port.master != Some(bridge.index) {
            return Err(Error::changed(format!(
                "{} is no longer a port of bridge {}",
                port.name, bridge.name
            )));
        }
        if conf.reflection == Reflection::Hairpin && !link::hairpin(&mut nets.host.0, &port)? {
            return Err(Error::changed(format!(
                "{} is no longer in hairpin mode",
                port.name
            )));
        }
        return Ok(port);
    }
    Err(Error::changed(format!(
        "the peer of {} is not the one that ADD created",
        pod.name
    )))
}

/// The port's VLANs, and the gateway in one of them, which is returned.
fn check_vlans(
    conf: &Conf,
    bridge: &Link,
    port: &Link,
    nets: &mut Nets,
    result: &CniResult,
) -> Result<Option<Link>, Error> {
    let Some(vlans) = &conf.vlans else {
        return Ok(None);
    };
    if !bridge.filters_vlans {
        return Err(Error::changed(format!(
            "bridge {} no longer filters VLANs",
            bridge.name
        )));
    }
    if let Some(difference) = gateway::difference(&mut nets.host, port, vlans)? {
        return Err(Error::changed(difference));
    }
    let Some(number) = conf.gateway_vlan() else {
        return Ok(None);
    };
    let name = vlan::gateway_name(&bridge.name, number);
    let reported = result
        .interfaces
        .iter()
        .find(|one| one.name == name && one.sandbox.is_empty());
    let wanted =
        reported.ok_or_else(|| Error::invalid(format!("prevResult does not contain interface {name}")))?;
    let found = link::by_name(&mut nets.host.0, &name)?;
    same(found, wanted, ContainerInterface::Up).map(Some)
}

fn check_pod(pod: &Link, result: &CniResult, inside: &mut PodNet) -> Result<(), Error> {
    for like in [IpAddr::from([0; 4]), IpAddr::from([0; 16])] {
        let of_family = |ip: IpAddr| ip.is_ipv4() == like.is_ipv4();
        let addresses = result.ips.iter().map(|ip| ip.address);
        let mut addresses = addresses.filter(|net| of_family(net.addr())).peekable();
        if addresses.peek().is_some() {
            let found: HashSet<_> = addr::list(&mut inside.0, pod, like)?.into_iter().collect();
            if let Some(lost) = addresses.find(|net| !found.contains(net)) {
                return Err(Error::changed(format!(
                    "interface {} no longer has address {lost}",
                    pod.name
                )));
            }
        }
        let routes = routes_of(result).into_iter();
        let mut routes = routes
            .filter(|route| of_family(route.destination.addr()))
            .peekable();
        if routes.peek().is_some() {
            let found = route::list(&mut inside.0, pod, like)?.into_iter();
            let found: HashSet<_> = found.map(|route| (route.destination, route.gateway)).collect();
            if let Some(gone) = routes.find(|route| !found.contains(&(route.destination, route.gateway))) {
                return Err(Error::changed(format!(
                    "the route to {} is missing in the pod",
                    gone.destination
                )));
            }
        }
    }
    Ok(())
}
