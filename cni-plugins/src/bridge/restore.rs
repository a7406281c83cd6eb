//! Restores what other programs have taken from a pod that is connected: rules that were flushed, the bridge, its address,
//! the pod's place at it.

use ipnet::IpNet;

use super::conf::{self, Conf, Gateway};
use super::{apply, first_of, included, masquerade, plan, senders};
use crate::netlink::link::{self, Link, Mac};
use crate::netlink::socket::{HostNet, NetlinkError, Socket};
use crate::netlink::{addr, neigh};
use crate::owners::Claim;
use crate::request::Request;
use crate::types::{CniResult, Error};

/// Restores what can be restored from outside of the pod; goes on after a failure. Of a pod that has gone there is nothing.
pub fn restore(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let result = request.previous_result()?.unwrap_or_default();
    let failures = [
        reconnect(request, &conf, &result),
        restore_masquerading(request, &conf, &result),
        restore_check(request, &conf, &result),
        included::restore(request, &conf.included),
    ];
    first_of(failures.into_iter().filter_map(Result::err).collect())
}

/// Makes the pod's port one of the bridge again, which is made, set up and given its addresses where it lacks them. A port
/// that somebody has attached elsewhere stays there.
fn reconnect(request: &Request, conf: &Conf, result: &CniResult) -> Result<(), Error> {
    let mut host = HostNet(Socket::route()?);
    let port = match port_name(request, result) {
        Some(name) => link::by_name(&mut host.0, &name)?,
        None => None,
    };
    let Some(port) = port else {
        return Ok(());
    };
    // With the address that it had, pods reach it without having to ask again.
    let bridge = apply::ensure_bridge(&mut host, conf, mac_on_host(result, &conf.bridge))?;
    if port.master.is_none_or(|master| master == bridge.index) {
        attach(request, conf, result, [&port, &bridge], &mut host)?;
    }
    Ok(())
}

/// Whether a bridge is there, is up, and has an address in each of these subnets.
pub fn is_whole(name: &str, subnets: &[IpNet]) -> Result<bool, NetlinkError> {
    let mut host = HostNet(Socket::route()?);
    let Some(bridge) = link::by_name(&mut host.0, name)?.filter(|bridge| bridge.up) else {
        return Ok(false);
    };
    for subnet in subnets {
        let found = addr::list(&mut host.0, &bridge, subnet.addr())?;
        if !found.iter().any(|address| subnet.contains(&address.addr())) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn attach(
    request: &Request,
    conf: &Conf,
    result: &CniResult,
    [port, bridge]: [&Link; 2],
    host: &mut HostNet,
) -> Result<(), Error> {
    if port.master.is_none() {
        link::set_master(&mut host.0, port, bridge)?;
    }
    let gateway = apply::set_up_port(conf, host, bridge, port)?;
    if conf.gateway != Gateway::None {
        for address in result.ips.iter().filter_map(plan::gateway_address) {
            let at = gateway.as_ref().unwrap_or(bridge);
            apply::ensure_address(host, at, address, conf.force_address)?;
        }
    }
    if let (true, Some(mac)) = (port.master.is_none(), mac_in_pod(request, result)) {
        // Otherwise frames to the pod would go to all ports until it sends one.
        let _ = neigh::learn(&mut host.0, port, mac);
    }
    Ok(())
}

fn restore_masquerading(request: &Request, conf: &Conf, result: &CniResult) -> Result<(), Error> {
    if !conf.masquerade {
        return Ok(());
    }
    let subnets: Vec<_> = result.ips.iter().map(|ip| ip.address.trunc()).collect();
    Ok(masquerade::ensure(
        &mut Socket::netfilter()?,
        &request.network,
        &subnets,
    )?)
}

fn restore_check(request: &Request, conf: &Conf, result: &CniResult) -> Result<(), Error> {
    match (port_name(request, result), mac_in_pod(request, result)) {
        (Some(port), Some(mac)) if conf.checks_senders => {
            let mut socket = Socket::netfilter()?;
            // A port that a later pod has meanwhile stays that pod's.
            Ok(senders::ensure(&mut socket, request, &port, mac, Claim::Present)?)
        }
        _ => Ok(()),
    }
}

/// The name of the host's end of the pod's link.
fn port_name(request: &Request, result: &CniResult) -> Option<String> {
    let mut names = (0..plan::NAMES).map(|attempt| plan::host_end(request, attempt));
    names.find(|name| {
        let mut on_host = result.interfaces.iter().filter(|one| one.sandbox.is_empty());
        on_host.any(|one| one.name == *name)
    })
}

/// The hardware address that ADD has reported of an interface of the host.
fn mac_on_host(result: &CniResult, name: &str) -> Option<Mac> {
    let mut on_host = result.interfaces.iter().filter(|one| one.sandbox.is_empty());
    Mac::parse(&on_host.find(|one| one.name == name)?.mac)
}

/// The hardware address that ADD has reported of the pod's interface.
fn mac_in_pod(request: &Request, result: &CniResult) -> Option<Mac> {
    let mut in_pod = result.interfaces.iter().filter(|one| !one.sandbox.is_empty());
    Mac::parse(&in_pod.find(|one| one.name == request.ifname)?.mac)
}
