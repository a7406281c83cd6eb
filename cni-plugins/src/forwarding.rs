//! Support for hosts that drop forwarded packets. Docker sets the policy of iptables' FORWARD chain to DROP, and a
//! packet must pass every chain of every table: no rule in a table of the plugins can override that. So a rule is added
//! to that chain.
//!
//! Called by the agent, once per start and on each check of the host; by no plugin.

use std::fs;

use crate::netlink::socket::{NetlinkError, Socket};
use crate::nftables::expr::{Expr, interface_name};
use crate::nftables::family::Family;
use crate::nftables::ruleset::Rule;
use crate::nftables::transaction::{Transaction, base_chains, look_and_change, rules};

/// linux/netfilter.h `NF_INET_FORWARD`
const FORWARD: u32 = 2;
/// The names of iptables' table and chain, which programs share by convention.
const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";

/// Whether the host forwards packets from and to pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// Chains that drop by default and now have our rules, as `table ip filter, chain FORWARD`.
    pub opened: Vec<String>,
    /// Chains that drop by default but are not changed, because they belong to another rule set: the administrator must
    /// add a rule there, unless there is one already.
    pub closed: Vec<String>,
}

/// Lets packets from and to `bridge` through the FORWARD chains of iptables that drop by default.
pub fn allow(bridge: &str) -> Result<Forwarding, NetlinkError> {
    let mut socket = Socket::netfilter()?;
    let mut forwarding = Forwarding::default();
    for chain in base_chains(&mut socket)?
        .into_iter()
        .filter(|chain| chain.hook == FORWARD && chain.drops)
    {
        let family = Family::ALL
            .into_iter()
            .find(|family| family.number() == chain.family);
        match family {
            Some(family) if (chain.table.as_str(), chain.name.as_str()) == (TABLE, CHAIN) => {
                open(&mut socket, family, bridge)?;
                forwarding
                    .opened
                    .push(format!("table {}, chain {CHAIN}", written(family)));
            }
            _ => forwarding
                .closed
                .push(format!("table {}, chain {}", chain.table, chain.name)),
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

/// Removes the rules for `bridge`.
pub fn remove(socket: &mut Socket, bridge: &str) -> Result<(), NetlinkError> {
    for family in Family::ALL {
        look_and_change(socket, "remove the rules of chain FORWARD", |socket| {
            let mut change = Transaction::default();
            for rule in rules(socket, family, TABLE)? {
                if wanted(bridge).iter().any(|wanted| wanted.comment == rule.comment) {
                    change.delete_rule(family, TABLE, &rule);
                }
            }
            Ok(Some(change).filter(|change| !change.is_empty()))
        })?;
    }
    Ok(())
}

fn open(socket: &mut Socket, family: Family, bridge: &str) -> Result<(), NetlinkError> {
    look_and_change(socket, "let pod packets pass chain FORWARD", |socket| {
        let found = rules(socket, family, TABLE)?;
        let mut change = Transaction::default();
        for rule in wanted(bridge) {
            if !found
                .iter()
                .any(|found| found.chain == CHAIN && found.comment == rule.comment)
            {
                change.insert_rule(family, TABLE, CHAIN, &rule);
            }
        }
        Ok(Some(change).filter(|change| !change.is_empty()))
    })
}

fn wanted(bridge: &str) -> [Rule; 2] {
    let rule = |words: &str, load: Expr| {
        let compare = Expr::Equal {
            register: 0,
            value: interface_name(bridge),
        };
        Rule {
            comment: format!("gantry: {words} pods of {bridge}"),
            exprs: vec![load, compare, Expr::Accept],
        }
    };
    [
        rule("from", Expr::InputName { register: 0 }),
        rule("to", Expr::OutputName { register: 0 }),
    ]
}

fn written(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip filter",
        Family::V6 => "ip6 filter",
    }
}
