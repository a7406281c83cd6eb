//! Drops frames of a pod's port that come from another hardware address than the pod's (`macspoofchk`).
//!
//! One table for all networks, with the same two rules however many pods there are; a pod is an element of each of two sets.
//! Ports that are in neither are nobody's business here. The table goes with its last pod.

use crate::netlink::link::Mac;
use crate::netlink::socket::{NetlinkError, Socket};
use crate::nftables::expr::{Expr, interface_name};
use crate::nftables::family::TableFamily;
use crate::nftables::ruleset::{Chain, Element, Hook, Rule, Set, Table, Type, padded};
use crate::nftables::transaction::{self, Transaction, comments, look_and_change};
use crate::owners::{Claim, is_gone, is_of_network, owner_of};
use crate::request::{Attachment, Request};

/// The table of all networks.
pub const TABLE: &str = "gantry-macspoofchk";
const FAMILY: TableFamily = TableFamily::Frames;
/// The ports whose frames are checked.
const PORTS: &str = "ports";
/// The ports with the addresses that their frames may come from.
const SENDERS: &str = "senders";

/// The table, without pods.
pub fn table() -> Table {
    let set = |name: &str, key: Vec<Type>| Set {
        name: name.to_string(),
        key,
        value: Vec::new(),
    };
    Table {
        family: FAMILY,
        name: TABLE.to_string(),
        sets: vec![
            set(PORTS, vec![Type::Interface]),
            set(SENDERS, vec![Type::Interface, Type::HardwareAddress]),
        ],
        chains: vec![Chain {
            name: "prerouting".to_string(),
            hook: Some(Hook::BRIDGE_PREROUTING),
            rules: rules(),
        }],
    }
}

fn rules() -> Vec<Rule> {
    let port = Expr::InputName { register: 0 };
    let is_in = |set: &str| Expr::InSet {
        set: set.to_string(),
        register: 0,
    };
    vec![
        Rule {
            comment: "accept frames from a pod's own address".into(),
            // A name takes four registers.
            exprs: vec![
                port.clone(),
                Expr::hardware_source(4),
                is_in(SENDERS),
                Expr::Accept,
            ],
        },
        Rule {
            comment: "drop other frames of a pod".into(),
            exprs: vec![port, is_in(PORTS), Expr::Drop],
        },
    ]
}

/// The elements of a pod.
fn elements(port: &str, mac: Mac, owner: &str) -> [Element; 2] {
    let name = interface_name(port);
    let element = |set: &str, key: Vec<u8>| Element {
        set: set.to_string(),
        key,
        value: Vec::new(),
        comment: owner.to_string(),
    };
    [
        element(SENDERS, [name.clone(), padded(&mac.0)].concat()),
        element(PORTS, name),
    ]
}

/// Takes frames from `mac` only on the pod's port, from now on. What is left of an earlier pod with a port of this name goes,
/// or stays with [`Claim::Present`].
pub fn ensure(
    socket: &mut Socket,
    request: &Request,
    port: &str,
    mac: Mac,
    claim: Claim,
) -> Result<(), NetlinkError> {
    let owner = owner_of(request);
    let wanted = elements(port, mac, &owner);
    let name = interface_name(port);
    let action = format!("restrict {port} to frames from {mac}");
    look_and_change(socket, &action, |socket| {
        let found = comments(socket, FAMILY, TABLE)?;
        let table = table();
        let mut change = Transaction::default();
        if table.differing_chains(&found).next().is_some() {
            change.ensure(&table, &found);
        }
        let mut missing: Vec<&Element> = wanted.iter().collect();
        for old in present(socket)? {
            let of_port = old.key.starts_with(&name);
            if of_port && claim == Claim::Present && old.comment != owner {
                return Ok(None);
            }
            if wanted.contains(&old) {
                missing.retain(|new| **new != old);
            } else if of_port || old.comment == owner {
                change.delete_element(FAMILY, TABLE, &old);
            }
        }
        missing
            .into_iter()
            .for_each(|new| change.add_element(FAMILY, TABLE, new));
        Ok(Some(change).filter(|change| !change.is_empty()))
    })
}

/// What is missing of the pod's check, if anything.
pub fn missing(
    socket: &mut Socket,
    request: &Request,
    port: &str,
    mac: Mac,
) -> Result<Option<String>, NetlinkError> {
    let found = comments(socket, FAMILY, TABLE)?;
    if let Some(chain) = table().differing_chains(&found).next() {
        let name = &chain.name;
        return Ok(Some(format!(
            "the rules of chain {name} in table {TABLE} differ from those that ADD created"
        )));
    }
    let present = present(socket)?;
    let lost = elements(port, mac, &owner_of(request))
        .into_iter()
        .find(|wanted| !present.contains(wanted));
    Ok(lost.map(|lost| {
        format!(
            "the element for {port} of {} in table {TABLE} is missing",
            lost.set
        )
    }))
}

/// Stops checking the pod's port. A check that is not there is not an error.
pub fn remove(socket: &mut Socket, request: &Request) -> Result<(), NetlinkError> {
    let owner = owner_of(request);
    remove_where(socket, |found| found == owner)
}

/// Stops checking the ports of all pods of a network.
pub fn remove_network(socket: &mut Socket, network: &str) -> Result<(), NetlinkError> {
    remove_where(socket, is_of_network(network))
}

/// Stops checking the ports of this network's pods that no longer exist.
pub fn collect_garbage(
    socket: &mut Socket,
    request: &Request,
    valid: &[Attachment],
) -> Result<(), NetlinkError> {
    remove_where(socket, is_gone(request, valid))
}

/// Removes the elements of owners for which `is_gone` returns true, and the table with the last element.
fn remove_where(socket: &mut Socket, is_gone: impl Fn(&str) -> bool) -> Result<(), NetlinkError> {
    look_and_change(socket, "remove the check of source addresses", |socket| {
        let removal = transaction::removal(FAMILY, TABLE, present(socket)?, &is_gone);
        Ok(removal.map(|(change, _)| change))
    })
}

fn present(socket: &mut Socket) -> Result<Vec<Element>, NetlinkError> {
    let mut all = Vec::new();
    for set in [PORTS, SENDERS] {
        all.extend(transaction::elements(socket, FAMILY, TABLE, set)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_long_as_their_sets_say() {
        let table = table();
        for element in elements("veth0", Mac([2, 0, 0, 0, 0, 1]), "owner") {
            let set = table.sets.iter().find(|set| set.name == element.set).unwrap();
            let length: u32 = set.key.iter().map(|part| part.length()).sum();
            assert_eq!(element.key.len(), usize::try_from(length).unwrap());
            assert!(element.key.starts_with(&interface_name("veth0")));
        }
    }
}
