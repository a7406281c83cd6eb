//! How the host reaches a forwarded port at its own loopback address, 127.0.0.1 or ::1: pure.
//!
//! Translated to the pod's address, such a packet would leave the host with a loopback address as its source. For IPv4
//! the kernel allows that if `route_localnet` is set, and then also accepts packets for 127.0.0.0/8 from the network
//! (CVE-2020-8558); for IPv6 it never does. So the source is replaced first: before connection tracking, the packet
//! gets another address of the host, the one that the host would use to send to the pod, and when the pod's answer
//! arrives, its destination becomes the loopback address again. No kernel setting is changed, and no foreign packet can
//! use this path: the kernel drops packets from the network for a loopback address, as always.
//!
//! A client may also bind its socket to an address of the host and ask at the loopback address. Its packets leave with
//! that source, which nothing replaces, so the answers must keep it as their destination: restored are only those for an
//! address that replaces the loopback address on the way to this pod.
//!
//! A client that binds its socket to an address of 127.0.0.0/8 other than 127.0.0.1, or to the very address that replaces
//! it, does not reach the port.

use std::net::IpAddr;

use super::conf::Mapping;
use super::key::port_key;
use crate::netlink::addr::ip_bytes;
use crate::nftables::expr::Expr;
use crate::nftables::family::Family;
use crate::nftables::ruleset::{Chain, Element, Hook, Rule, Set, Type};

/// The addresses that replace the loopback address, for ports of one address and for ports of all; and each of them with
/// the pod that sees it.
pub const SETS: [&str; 3] = ["loopback-to-address", "loopback-to-host", "loopback-clients"];

/// The maps and the set.
pub fn sets(family: Family) -> [Set; 3] {
    let address = Type::Address(family);
    let set = |name: &str, key: Vec<Type>, value: Vec<Type>| Set {
        name: name.into(),
        key,
        value,
    };
    let [to_address, to_host, clients] = SETS;
    [
        set(
            to_address,
            vec![address, Type::Protocol, Type::Port],
            vec![address],
        ),
        set(to_host, vec![Type::Protocol, Type::Port], vec![address]),
        set(clients, vec![address, address], vec![]),
    ]
}

/// The chains that replace the loopback address and restore it.
pub fn chains(family: Family) -> [Chain; 2] {
    let [to_address, to_host, _] = SETS;
    let put_in = |comment: &str, map: &str, key: Vec<Expr>| {
        let mut exprs = vec![family.source(0), equals_loopback(family)];
        exprs.extend(family.loopback_network(family.destination(0), true));
        exprs.extend(key);
        exprs.push(Expr::FromMap {
            map: map.into(),
            register: 0,
        });
        exprs.push(family.set_source(0));
        Rule {
            comment: comment.into(),
            exprs,
        }
    };
    let behind = family.address_registers();
    let port = |register| {
        [
            Expr::TransportProtocol { register },
            Expr::destination_port(register + 1),
        ]
    };
    let single = std::iter::once(family.destination(0))
        .chain(port(behind))
        .collect();
    [
        Chain {
            name: "from-loopback".into(),
            hook: Some(Hook::RAW_OUTPUT),
            rules: vec![
                put_in(
                    "from loopback to ports of single addresses: another source",
                    to_address,
                    single,
                ),
                put_in(
                    "from loopback to ports of all addresses: another source",
                    to_host,
                    port(0).to_vec(),
                ),
            ],
        },
        Chain {
            name: "to-loopback".into(),
            hook: Some(Hook::INPUT_AFTER_NAT),
            rules: vec![take_out(family)],
        },
    ]
}

/// Answers of connections that went to a loopback address and whose source was replaced.
fn take_out(family: Family) -> Rule {
    let original = Expr::OriginalDestination { family, register: 0 };
    let [_, _, clients] = SETS;
    let mut exprs = vec![Expr::IsReply];
    exprs.extend(family.loopback_network(original, true));
    exprs.extend([
        family.destination(0),
        Expr::AnswerSource {
            family,
            register: family.address_registers(),
        },
        Expr::InSet {
            set: clients.into(),
            register: 0,
        },
        Expr::Constant {
            register: 0,
            value: ip_bytes(family.loopback()),
        },
        family.set_destination(0),
    ]);
    Rule {
        comment: "answers to loopback: its address again".into(),
        exprs,
    }
}

fn equals_loopback(family: Family) -> Expr {
    Expr::Equal {
        register: 0,
        value: ip_bytes(family.loopback()),
    }
}

/// The elements that make `mapping` to `pod` available at the loopback address, with `stand_in` as the client's address;
/// the second is the same for all ports of a pod. None if the port is of another address.
pub fn elements(mapping: &Mapping, pod: IpAddr, stand_in: IpAddr, owner: &str) -> Vec<Element> {
    let [to_address, to_host, clients] = SETS;
    let set = match mapping.host_ip {
        None => to_host,
        Some(address) if address.is_loopback() => to_address,
        Some(_) => return Vec::new(),
    };
    let element = |set: &str, key, value| Element {
        set: set.to_string(),
        key,
        value,
        comment: owner.to_string(),
    };
    let client = [ip_bytes(stand_in), ip_bytes(pod)].concat();
    vec![
        element(set, port_key(mapping), ip_bytes(stand_in)),
        element(clients, client, Vec::new()),
    ]
}
