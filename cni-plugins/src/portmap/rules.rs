//! Turns mappings into a table and its elements: pure.
//!
//! ```text
//! table ip gantry-hostport {
//!   map to-address { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }   ports of one address
//!   map to-host    { type inet_proto . inet_service : ipv4_addr . inet_service }               ports of all addresses
//!   set snat-24    { type ipv4_addr . ipv4_addr }                          source network . pod, one set per prefix
//!   chain hostports   { both maps, in this order; then the chains hostports-NAME, one for each set of conditions }
//!   chain prerouting  { destinations that are ours: jump hostports }
//!   chain output      { the same }
//!   chain postrouting { translated connections: source cut to 24 bits . destination in snat-24: masquerade }
//!   chain loopback    { nothing that came by wire reaches 127.0.0.0/8 }
//!   map loopback-to-address, loopback-to-host, set loopback-clients, chain from-loopback, to-loopback   see `loopback.rs`
//! }
//! ```
//!
//! The number of rules does not depend on the number of ports; each port is an element that carries its owner's name.
//!
//! `loopback` exists although `route_localnet` is not set: translation happens before the kernel checks whether a
//! packet for 127.0.0.0/8 may come from the network, so a port of 127.0.0.1 alone would be open to any host that sends
//! such a packet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::conditions::Conditions;
use super::conf::{Conf, Mapping, Snat};
use super::key::port_key;
use super::loopback;
use crate::loopback_guard;
use crate::netlink::addr::ip_bytes;
use crate::nftables::expr::Expr;
use crate::nftables::family::Family;
use crate::nftables::ruleset::{Chain, Comments, Element, Hook, Rule, Set, Table, Type, padded};
use crate::text::short_enough;

/// The table's name, in both families.
pub const TABLE: &str = "gantry-hostport";
const TO_ADDRESS: &str = "to-address";
const TO_HOST: &str = "to-host";
const HOSTPORTS: &str = "hostports";
const CONDITIONS_RULE: &str = "ports under conditions ";
const SNAT_RULE: &str = "masquerade connections from networks in snat-";

/// The variable parts of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extent {
    /// The lengths of the source networks that are masqueraded.
    pub prefixes: BTreeSet<u8>,
    /// The names of the conditions of forwarded ports. Each has its own maps and chain.
    pub conditions: BTreeSet<String>,
}

impl Extent {
    /// The parts that the kernel's table has.
    pub fn known(found: &Comments) -> Self {
        let numbers = |chain: &str| found.get(chain).into_iter().flatten();
        Extent {
            prefixes: numbers("postrouting")
                .filter_map(|comment| comment.strip_prefix(SNAT_RULE)?.parse().ok())
                .collect(),
            conditions: numbers(HOSTPORTS)
                .filter_map(|comment| comment.strip_prefix(CONDITIONS_RULE).map(str::to_string))
                .collect(),
        }
    }

    /// Adds the parts that the ports of `conf` need for the pod at `pod`.
    pub fn with(mut self, conf: &Conf, pod: IpNet) -> Self {
        self.prefixes.extend(match conf.snat {
            Snat::None => None,
            Snat::Needed => Some(pod.prefix_len()),
            Snat::All => Some(0),
        });
        self.conditions
            .extend(conf.conditions(Family::of(pod.addr())).name());
        self
    }
}

/// The table. Of the chains for conditions only that of `own` is written; the others exist already.
pub fn table(family: Family, extent: &Extent, own: &Conditions) -> Table {
    Table {
        family: family.into(),
        name: TABLE.to_string(),
        sets: sets(family, extent, own),
        chains: chains(family, extent, own),
    }
}

fn sets(family: Family, extent: &Extent, own: &Conditions) -> Vec<Set> {
    let address = Type::Address(family);
    let target = vec![address, Type::Port];
    let mut sets = Vec::new();
    for group in std::iter::once(None).chain(own.name().map(Some)) {
        sets.push(Set {
            name: grouped(TO_ADDRESS, group.as_deref()),
            key: vec![address, Type::Protocol, Type::Port],
            value: target.clone(),
        });
        sets.push(Set {
            name: grouped(TO_HOST, group.as_deref()),
            key: vec![Type::Protocol, Type::Port],
            value: target.clone(),
        });
    }
    sets.extend(loopback::sets(family));
    sets.extend(extent.prefixes.iter().map(|prefix| Set {
        name: snat_set(*prefix),
        key: vec![address, address],
        value: vec![],
    }));
    sets
}

fn chains(family: Family, extent: &Extent, own: &Conditions) -> Vec<Chain> {
    let prefixes = &extent.prefixes;
    let none = Conditions::default();
    let mut hostports = vec![address_rule(family, &none), host_rule(family, &none)];
    hostports.extend(extent.conditions.iter().map(|group| Rule {
        comment: format!("{CONDITIONS_RULE}{group}"),
        exprs: vec![Expr::Jump(grouped(HOSTPORTS, Some(group)))],
    }));
    let mut chains: Vec<Chain> = own
        .name()
        .map(|group| Chain {
            name: grouped(HOSTPORTS, Some(&group)),
            hook: None,
            rules: vec![address_rule(family, own), host_rule(family, own)],
        })
        .into_iter()
        .collect();
    chains.extend([
        Chain {
            name: HOSTPORTS.into(),
            hook: None,
            rules: hostports,
        },
        Chain {
            name: "prerouting".into(),
            hook: Some(Hook::NAT_PREROUTING),
            rules: vec![local_rule()],
        },
        Chain {
            name: "output".into(),
            hook: Some(Hook::NAT_OUTPUT),
            rules: vec![local_rule()],
        },
    ]);
    if !prefixes.is_empty() {
        let rules = prefixes.iter().map(|prefix| snat_rule(family, *prefix)).collect();
        chains.push(Chain {
            name: "postrouting".into(),
            hook: Some(Hook::NAT_POSTROUTING),
            rules,
        });
    }
    chains.extend(loopback::chains(family));
    if family == Family::V4 {
        chains.push(loopback_guard::chain());
    }
    chains
}

/// The name of a map or chain, of those under conditions their own.
fn grouped(name: &str, group: Option<&str>) -> String {
    group.map_or_else(|| name.to_string(), |group| format!("{name}-{group}"))
}

fn snat_set(prefix: u8) -> String {
    format!("snat-{prefix}")
}

/// The text of a rule with its conditions; longer ones are distinguished by the chain's name.
fn where_holds(words: &str, conditions: &Conditions) -> String {
    match conditions.name() {
        None => words.to_string(),
        Some(_) => format!("{words}: {}", short_enough(&conditions.to_string(), 70)),
    }
}

fn address_rule(family: Family, conditions: &Conditions) -> Rule {
    let port = family.address_registers();
    let mut exprs = conditions.exprs(family);
    exprs.extend([family.destination(0), Expr::TransportProtocol { register: port }]);
    exprs.extend([
        Expr::destination_port(port + 1),
        Expr::FromMap {
            map: grouped(TO_ADDRESS, conditions.name().as_deref()),
            register: 0,
        },
        Expr::Dnat {
            family,
            address: 0,
            port,
        },
    ]);
    Rule {
        comment: where_holds("forward ports of single addresses", conditions),
        exprs,
    }
}

fn host_rule(family: Family, conditions: &Conditions) -> Rule {
    let mut exprs = conditions.exprs(family);
    exprs.extend([
        Expr::TransportProtocol { register: 0 },
        Expr::destination_port(1),
        Expr::FromMap {
            map: grouped(TO_HOST, conditions.name().as_deref()),
            register: 0,
        },
        Expr::Dnat {
            family,
            address: 0,
            port: family.address_registers(),
        },
    ]);
    Rule {
        comment: where_holds("forward ports of all addresses", conditions),
        exprs,
    }
}

fn local_rule() -> Rule {
    let exprs = vec![Expr::DestinationIsLocal, Expr::Jump(HOSTPORTS.into())];
    Rule {
        comment: "addresses of this host".into(),
        exprs,
    }
}

fn snat_rule(family: Family, prefix: u8) -> Rule {
    let exprs = vec![
        Expr::DestinationTranslated,
        family.source(0),
        Expr::Mask {
            register: 0,
            mask: family.mask(prefix),
        },
        family.destination(family.address_registers()),
        Expr::InSet {
            set: snat_set(prefix),
            register: 0,
        },
        Expr::Masquerade,
    ];
    Rule {
        comment: format!("{SNAT_RULE}{prefix}"),
        exprs,
    }
}

/// The names of all sets of the table.
pub fn set_names(extent: &Extent) -> Vec<String> {
    let groups = std::iter::once(None).chain(extent.conditions.iter().map(|group| Some(group.as_str())));
    groups
        .flat_map(|group| [TO_ADDRESS, TO_HOST].map(|name| grouped(name, group)))
        .chain(loopback::SETS.map(str::to_string))
        .chain(extent.prefixes.iter().map(|prefix| snat_set(*prefix)))
        .collect()
}

/// The location of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Its address and network.
    pub pod: IpNet,
    /// The host's source address for packets to the pod; `None` if no route leads there.
    pub host: Option<IpAddr>,
}

/// Elements by their unique key: the set and the key in it.
pub type Elements = BTreeMap<(String, Vec<u8>), Element>;

/// The elements for a pod, on behalf of `owner`. If two mappings have the same port, the first counts.
pub fn elements(conf: &Conf, target: Target, owner: &str) -> Elements {
    let family = Family::of(target.pod.addr());
    let conditions = conf.conditions(family);
    let group = conditions.name();
    let at_loopback = conf.snat != Snat::None && conditions.hold_for_loopback(family);
    let mut elements = Elements::new();
    let mut add = |element: Element| {
        elements
            .entry((element.set.clone(), element.key.clone()))
            .or_insert(element);
    };
    for mapping in mappings_for(conf, target.pod) {
        add(port_element(mapping, group.as_deref(), target.pod, owner));
        if let (Some(host), true) = (target.host, at_loopback) {
            loopback::elements(mapping, target.pod.addr(), host, owner)
                .into_iter()
                .for_each(&mut add);
        }
    }
    if mappings_for(conf, target.pod).next().is_some() {
        snat_elements(conf, target, owner).into_iter().for_each(add);
    }
    elements
}

/// The mappings for the family of `pod`.
pub fn mappings_for(conf: &Conf, pod: IpNet) -> impl Iterator<Item = &Mapping> {
    conf.mappings.iter().filter(move |mapping| {
        mapping
            .family_of
            .is_none_or(|address| address.is_ipv4() == pod.addr().is_ipv4())
    })
}

fn port_element(mapping: &Mapping, group: Option<&str>, pod: IpNet, owner: &str) -> Element {
    let mut value = ip_bytes(pod.addr());
    value.extend(padded(&mapping.container_port.to_be_bytes()));
    let set = if mapping.host_ip.is_some() {
        TO_ADDRESS
    } else {
        TO_HOST
    };
    Element {
        set: grouped(set, group),
        key: port_key(mapping),
        value,
        comment: owner.to_string(),
    }
}

/// A client on the pod's own network would get answers directly from the pod, bypassing the host that translated the
/// address, and would not recognize them. The address that replaces the host's loopback address is masqueraded, too:
/// this picks another port if the host already has such a connection to the pod.
fn snat_elements(conf: &Conf, target: Target, owner: &str) -> Vec<Element> {
    let pod = target.pod;
    let element = |network: IpNet| {
        let mut key = ip_bytes(network.network());
        key.extend(ip_bytes(pod.addr()));
        Element {
            set: snat_set(network.prefix_len()),
            key,
            value: Vec::new(),
            comment: owner.to_string(),
        }
    };
    let of = |address, prefix| IpNet::new(address, prefix).expect("the prefix is one of the pod's family");
    match conf.snat {
        Snat::None => Vec::new(),
        Snat::All => vec![element(of(pod.addr(), 0))],
        Snat::Needed => {
            let host = target.host.map(|host| of(host, pod.prefix_len()));
            std::iter::once(pod).chain(host).map(element).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(snat: Snat) -> Conf {
        let mapping = |host_ip: Option<&str>, host_port| Mapping {
            protocol: 6,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            family_of: host_ip.map(|ip| ip.parse().unwrap()),
            host_port,
            container_port: 80,
        };
        Conf {
            mappings: vec![
                mapping(None, 8080),
                mapping(Some("192.0.2.1"), 8081),
                mapping(Some("fd00::1"), 8082),
            ],
            snat,
            conditions_v4: Conditions::default(),
            conditions_v6: Conditions::default(),
        }
    }

    fn target(host: &str) -> Target {
        Target {
            pod: "10.1.0.5/24".parse().unwrap(),
            host: Some(host.parse().unwrap()),
        }
    }

    #[test]
    fn a_port_is_an_element_of_its_family_only() {
        let elements: Vec<_> = elements(&conf(Snat::None), target("192.0.2.9"), "o")
            .into_values()
            .collect();
        assert_eq!(elements.len(), 2);
        assert_eq!(elements[0].key, [192, 0, 2, 1, 6, 0, 0, 0, 0x1f, 0x91, 0, 0]);
        assert_eq!(elements[1].key, [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        assert_eq!(elements[1].value, [10, 1, 0, 5, 0, 80, 0, 0]);
    }

    #[test]
    fn the_pod_s_network_and_the_host_are_masqueraded_or_everybody() {
        let keys = |snat, host| {
            let all = elements(&conf(snat), target(host), "o");
            all.into_values()
                .filter(|e| e.set.starts_with("snat"))
                .map(|e| (e.set, e.key))
                .collect::<Vec<_>>()
        };
        let own = ("snat-24".to_string(), vec![10, 1, 0, 0, 10, 1, 0, 5]);
        let other = ("snat-24".to_string(), vec![192, 0, 2, 0, 10, 1, 0, 5]);
        assert_eq!(keys(Snat::Needed, "10.1.0.1"), std::slice::from_ref(&own));
        assert_eq!(keys(Snat::Needed, "192.0.2.9"), [own, other]);
        assert_eq!(
            keys(Snat::All, "10.1.0.1"),
            [("snat-0".to_string(), vec![0, 0, 0, 0, 10, 1, 0, 5])]
        );
        assert!(keys(Snat::None, "10.1.0.1").is_empty());
    }

    #[test]
    fn a_port_answers_at_loopback_unless_it_is_of_another_address() {
        let stand_ins = |snat| {
            let all = elements(&conf(snat), target("10.1.0.1"), "o");
            all.into_values()
                .filter(|e| loopback::SETS.contains(&e.set.as_str()))
                .map(|e| (e.key, e.value))
                .collect::<Vec<_>>()
        };
        let client = (vec![10, 1, 0, 1, 10, 1, 0, 5], vec![]);
        let of_all = (vec![6, 0, 0, 0, 0x1f, 0x90, 0, 0], vec![10, 1, 0, 1]);
        for snat in [Snat::Needed, Snat::All] {
            assert_eq!(stand_ins(snat), [client.clone(), of_all.clone()]);
        }
        assert!(stand_ins(Snat::None).is_empty());
    }

    #[test]
    fn what_the_table_has_is_read_back_from_the_rules() {
        let conditions = Conditions::read(&["-d".into(), "192.0.2.1".into()], Family::V4).unwrap();
        let extent = Extent {
            prefixes: [0, 24].into(),
            conditions: ["0123abcd".to_string()]
                .into_iter()
                .chain(conditions.name())
                .collect(),
        };
        let table = table(Family::V4, &extent, &conditions);
        let found = table.chains.into_iter();
        let found = found.map(|chain| {
            (
                chain.name,
                chain.rules.into_iter().map(|rule| rule.comment).collect(),
            )
        });
        assert_eq!(Extent::known(&found.collect()), extent);
    }

    #[test]
    fn ports_under_conditions_have_maps_of_their_own() {
        let conditions = Conditions::read(&["-d".into(), "192.0.2.1".into()], Family::V4).unwrap();
        let group = conditions.name().unwrap();
        let conf = Conf {
            conditions_v4: conditions,
            ..conf(Snat::Needed)
        };
        let sets: BTreeSet<_> = elements(&conf, target("10.1.0.1"), "o")
            .into_values()
            .map(|e| e.set)
            .collect();
        let own = [
            format!("to-address-{group}"),
            format!("to-host-{group}"),
            "snat-24".to_string(),
        ];
        assert_eq!(sets, own.into());
    }
}
