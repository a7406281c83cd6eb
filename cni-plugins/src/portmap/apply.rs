//! Adds the elements of a pod to the kernel's sets and removes them. Each change is computed from the current rule set
//! and rejected by the kernel if that has changed meanwhile, so that concurrent calls cannot interfere with each other,
//! and a late DEL of one pod does not take the port of the next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use nix::libc;

use super::conf::Conf;
use super::rules::{Extent, TABLE, Target, elements, mappings_for, set_names, table};
use crate::netlink::socket::{NetlinkError, Socket};
use crate::netlink::{conntrack, route};
use crate::nftables::family::Family;
use crate::nftables::ruleset::Element;
use crate::nftables::transaction::{self, Transaction, comments, look_and_change};
use crate::owners::{Claim, is_of_network};

/// Forwards the ports of `conf` to the pod at `pod`, on behalf of `owner`.
pub fn forward(
    socket: &mut Socket,
    conf: &Conf,
    pod: IpNet,
    owner: &str,
    claim: Claim,
) -> Result<(), NetlinkError> {
    let family = Family::of(pod.addr());
    let wanted = elements(conf, target(pod)?, owner);
    look_and_change(socket, "forward ports of the host", |socket| {
        let found = comments(socket, family, TABLE)?;
        let extent = Extent::known(&found).with(conf, pod);
        let mut missing: BTreeMap<_, _> = wanted.iter().collect();
        let present = all_elements(socket, family, &extent)?;
        let mut change = Transaction::default();
        let table = table(family, &extent, conf.conditions(family));
        if table.differing_chains(&found).next().is_some() {
            change.ensure(&table, &found);
        }
        for old in &present {
            let key = (old.set.clone(), old.key.clone());
            match missing.get(&key) {
                Some(new) if *new == old => drop(missing.remove(&key)),
                Some(_) if claim == Claim::Present && old.comment != owner => drop(missing.remove(&key)),
                Some(_) => change.delete_element(family, TABLE, old),
                None if old.comment == owner => change.delete_element(family, TABLE, old),
                None => {}
            }
        }
        for new in missing.values() {
            change.add_element(family, TABLE, new);
        }
        Ok(Some(change).filter(|change| !change.is_empty()))
    })
}

/// The pod's address, and the host's address next to it. A link-local address does not count: the pod could not answer
/// to it by a route.
fn target(pod: IpNet) -> Result<Target, NetlinkError> {
    let host = route::source_towards(&mut Socket::route()?, pod.addr())?;
    let is_of_link = |host: &IpAddr| matches!(host, IpAddr::V6(v6) if v6.is_unicast_link_local());
    Ok(Target {
        pod,
        host: host.filter(|host| !is_of_link(host)),
    })
}

/// Removes the elements of owners for which `is_gone` returns true, and the table with the last element.
pub fn remove(socket: &mut Socket, is_gone: impl Fn(&str) -> bool) -> Result<(), NetlinkError> {
    for family in Family::ALL {
        let mut gone = Vec::new();
        look_and_change(socket, "stop forwarding ports of the host", |socket| {
            let known = Extent::known(&comments(socket, family, TABLE)?);
            let present = all_elements(socket, family, &known)?;
            let removal = transaction::removal(family, TABLE, present, &is_gone);
            Ok(removal.map(|(change, away)| {
                gone = away;
                change
            }))
        })?;
        forget_udp(socket, family, &gone)?;
    }
    Ok(())
}

/// Removes the elements of all pods of a network.
pub fn remove_network(socket: &mut Socket, network: &str) -> Result<(), NetlinkError> {
    remove(socket, is_of_network(network))
}

/// The first mapping's element that is not in the kernel.
pub fn missing(
    socket: &mut Socket,
    conf: &Conf,
    pod: IpNet,
    owner: &str,
) -> Result<Option<String>, NetlinkError> {
    let family = Family::of(pod.addr());
    let wanted = elements(conf, target(pod)?, owner);
    if wanted.is_empty() {
        return Ok(None);
    }
    let found = comments(socket, family, TABLE)?;
    let known = Extent::known(&found);
    let table = table(family, &known, conf.conditions(family));
    if let Some(chain) = table.differing_chains(&found).next() {
        return Ok(Some(format!(
            "the rules of chain {} in table {TABLE} differ from those that ADD created",
            chain.name
        )));
    }
    let present: BTreeSet<Element> = all_elements(socket, family, &known)?.into_iter().collect();
    let missing = wanted.into_values().find(|element| !present.contains(element));
    Ok(missing.map(|element| format!("an element of {} in table {TABLE} is gone", element.set)))
}

/// Deletes the tracked UDP flows to the forwarded ports, which would otherwise continue to their former destination.
pub fn forget_flows(socket: &mut Socket, conf: &Conf, pod: IpNet) -> Result<(), NetlinkError> {
    let udp = |protocol: u8| i32::from(protocol) == libc::IPPROTO_UDP;
    let mappings = mappings_for(conf, pod).filter(|mapping| udp(mapping.protocol));
    let ports: BTreeSet<_> = mappings
        .map(|mapping| (mapping.host_ip, mapping.host_port))
        .collect();
    if !ports.is_empty() {
        conntrack::delete_udp(socket, pod.addr(), &ports)?;
    }
    Ok(())
}

fn all_elements(socket: &mut Socket, family: Family, extent: &Extent) -> Result<Vec<Element>, NetlinkError> {
    let mut all = Vec::new();
    for set in set_names(extent) {
        all.extend(transaction::elements(socket, family, TABLE, &set)?);
    }
    Ok(all)
}

/// Like [`forget_flows`], for elements that were removed: their keys end in protocol and port.
fn forget_udp(socket: &mut Socket, family: Family, gone: &[Element]) -> Result<(), NetlinkError> {
    let like = if family == Family::V4 {
        IpAddr::from([0; 4])
    } else {
        IpAddr::from([0; 16])
    };
    let mut ports = BTreeSet::new();
    for element in gone.iter().filter(|element| !element.value.is_empty()) {
        let Some((address, [protocol, _, _, _, high, low, _, _])) = element.key.split_last_chunk::<8>()
        else {
            continue;
        };
        if i32::from(*protocol) == libc::IPPROTO_UDP {
            let address = crate::netlink::addr::ip_from(address);
            ports.insert((address, u16::from_be_bytes([*high, *low])));
        }
    }
    if !ports.is_empty() {
        conntrack::delete_udp(socket, like, &ports)?;
    }
    Ok(())
}
