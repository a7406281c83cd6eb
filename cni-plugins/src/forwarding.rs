//! Support for hosts that drop forwarded packets. Docker sets the policy of iptables' FORWARD chain to DROP, and a
//! packet must pass every chain of every table: no rule in a table of the plugins can override that. So a rule is added
//! to that chain.
//!
//! Called by the agent for its bridge, once per start and on each check of the host, and by the plugin `firewall`. Only
//! expressions are used that iptables can show; with others it would refuse to list the table.

use std::fs;

use crate::netlink::socket::{NetlinkError, Socket};
use crate::nftables::chains::{BaseChain, base_chains, has_chain};
use crate::nftables::expr::{Expr, interface_name};
use crate::nftables::family::Family;
use crate::nftables::ruleset::Rule;
use crate::nftables::transaction::{FoundRule, Transaction, look_and_change, rules};
use crate::text::short_enough;

/// linux/netfilter.h `NF_INET_FORWARD`
const FORWARD: u32 = 2;
/// The names of iptables' table and chain, which programs share by convention.
const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";
/// The table of firewalld.
const FIREWALLD: &str = "firewalld";
const COMMENT: &str = "gantry: ";
const PODS_OF: &str = " pods of ";

/// Whether the host forwards packets from and to pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// Chains that drop by default and now have our rules, as `table ip filter, chain FORWARD`.
    pub opened: Vec<String>,
    /// Chains that drop by default but are not changed, because they belong to another rule set: the administrator must
    /// add a rule there, unless there is one already.
    pub closed: Vec<String>,
    /// Whether firewalld has rules for forwarded packets, which its zones decide on.
    pub firewalld: bool,
}

/// Whose packets are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage<'a> {
    /// The interface of the host that they come from and go to.
    pub interface: &'a str,
    /// The network on whose behalf; `None` for the agent, which opens only what drops.
    pub network: Option<&'a str>,
    /// A chain that may override the rules.
    pub admin_chain: Option<&'a str>,
}

/// Lets packets from and to `bridge` through the FORWARD chains of iptables that drop by default.
pub fn allow(bridge: &str) -> Result<Forwarding, NetlinkError> {
    let passage = Passage {
        interface: bridge,
        network: None,
        admin_chain: None,
    };
    allow_for(&mut Socket::netfilter()?, &passage)
}

/// Lets packets of `passage` through the FORWARD chains of iptables.
pub fn allow_for(socket: &mut Socket, passage: &Passage<'_>) -> Result<Forwarding, NetlinkError> {
    let mut forwarding = Forwarding::default();
    for chain in base_chains(socket)?
        .into_iter()
        .filter(|chain| chain.hook == FORWARD)
    {
        forwarding.firewalld |= chain.table == FIREWALLD;
        match shared(&chain) {
            Some(family) if chain.drops || passage.network.is_some() => {
                open(socket, family, passage)?;
                forwarding.opened.push(written(family));
            }
            None if chain.drops => forwarding
                .closed
                .push(format!("table {}, chain {}", chain.table, chain.name)),
            _ => {}
        }
    }
    // The older iptables stores its rules where only it can read them.
    let legacy = fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    if legacy.lines().any(|table| table == TABLE) {
        forwarding
            .closed
            .push("iptables-legacy, chain FORWARD".to_string());
    }
    Ok(forwarding)
}

/// The family of a chain that is iptables' FORWARD.
fn shared(chain: &BaseChain) -> Option<Family> {
    let families = &mut Family::ALL.into_iter();
    families
        .find(|family| family.number() == chain.family)
        .filter(|_| (chain.table.as_str(), chain.name.as_str()) == (TABLE, CHAIN))
}

/// The first FORWARD chain of iptables that lacks a rule of `passage`.
pub fn missing(socket: &mut Socket, passage: &Passage<'_>) -> Result<Option<String>, NetlinkError> {
    for chain in base_chains(socket)? {
        let family = shared(&chain).filter(|_| chain.hook == FORWARD);
        if let Some(family) = family
            && !has_all(&rules(socket, family, TABLE)?, &wanted(socket, family, passage)?)
        {
            return Ok(Some(written(family)));
        }
    }
    Ok(None)
}

/// Removes the agent's rules for `bridge`.
pub fn remove(socket: &mut Socket, bridge: &str) -> Result<(), NetlinkError> {
    remove_where(socket, |interface, network| {
        interface == bridge && network.is_none()
    })
}

/// Removes the rules on behalf of `network` for interfaces for which `is_gone` returns true.
pub fn remove_of(
    socket: &mut Socket,
    network: &str,
    is_gone: impl Fn(&str) -> bool,
) -> Result<(), NetlinkError> {
    let own = short_enough(network, 40);
    remove_where(socket, |interface, network| {
        network == Some(own.as_str()) && is_gone(interface)
    })
}

fn remove_where(
    socket: &mut Socket,
    is_meant: impl Fn(&str, Option<&str>) -> bool,
) -> Result<(), NetlinkError> {
    for family in Family::ALL {
        look_and_change(socket, "remove the rules of chain FORWARD", |socket| {
            let mut change = Transaction::default();
            for rule in rules(socket, family, TABLE)? {
                if subject(&rule.comment).is_some_and(|(interface, network)| is_meant(interface, network)) {
                    change.delete_rule(family, TABLE, &rule);
                }
            }
            Ok(Some(change).filter(|change| !change.is_empty()))
        })?;
    }
    Ok(())
}

fn open(socket: &mut Socket, family: Family, passage: &Passage<'_>) -> Result<(), NetlinkError> {
    look_and_change(socket, "let pod packets pass chain FORWARD", |socket| {
        let found = rules(socket, family, TABLE)?;
        let wanted = wanted(socket, family, passage)?;
        let mut change = Transaction::default();
        if !has_all(&found, &wanted) {
            // Anew as a whole, because their order matters.
            for rule in found.iter().filter(|rule| is_of(&wanted, rule)) {
                change.delete_rule(family, TABLE, rule);
            }
            for rule in wanted.iter().rev() {
                change.insert_rule(family, TABLE, CHAIN, rule);
            }
        }
        Ok(Some(change).filter(|change| !change.is_empty()))
    })
}

fn is_of(wanted: &[Rule], found: &FoundRule) -> bool {
    found.chain == CHAIN && wanted.iter().any(|wanted| wanted.comment == found.comment)
}

/// Whether all rules are there, in their order.
fn has_all(found: &[FoundRule], wanted: &[Rule]) -> bool {
    let found = found.iter().filter(|rule| is_of(wanted, rule));
    found
        .map(|rule| &rule.comment)
        .eq(wanted.iter().map(|rule| &rule.comment))
}

/// The rules of a passage, in their order.
fn wanted(socket: &mut Socket, family: Family, passage: &Passage<'_>) -> Result<Vec<Rule>, NetlinkError> {
    let mut verdicts = Vec::new();
    if let Some(chain) = passage.admin_chain
        && has_chain(socket, family, TABLE, chain)?
    {
        verdicts.push((
            format!("ask {}: ", short_enough(chain, 30)),
            Expr::Jump(chain.to_string()),
        ));
    }
    verdicts.push((String::new(), Expr::Accept));
    let directions = [
        ("from", Expr::InputName { register: 0 }),
        ("to", Expr::OutputName { register: 0 }),
    ];
    let rule = |(ask, verdict): &(String, Expr), (direction, load): &(&str, Expr)| {
        let compare = Expr::Equal {
            register: 0,
            value: interface_name(passage.interface),
        };
        let network = passage
            .network
            .map(|network| format!(" in {}", short_enough(network, 40)))
            .unwrap_or_default();
        Rule {
            comment: format!("{COMMENT}{ask}{direction}{PODS_OF}{}{network}", passage.interface),
            exprs: vec![load.clone(), compare, verdict.clone()],
        }
    };
    let of = |verdict| directions.iter().map(move |direction| rule(verdict, direction));
    Ok(verdicts.iter().flat_map(of).collect())
}

/// The interface and the network that a rule is about.
fn subject(comment: &str) -> Option<(&str, Option<&str>)> {
    let (_, subject) = comment.strip_prefix(COMMENT)?.split_once(PODS_OF)?;
    Some(match subject.split_once(" in ") {
        Some((interface, network)) => (interface, Some(network)),
        None => (subject, None),
    })
}

fn written(family: Family) -> String {
    let table = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    format!("table {table} {TABLE}, chain {CHAIN}")
}
