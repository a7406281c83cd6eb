//! Masquerading of a network that reaches over several nodes: packets from pod to pod keep their addresses, wherever the
//! two run; what leaves the network gets the address of the host. The rules are flannel's (`pkg/trafficmngr`).
//!
//! The table is that of the network's masquerading on one node ([`crate::bridge::masquerade`]), so that the one replaces
//! the other at once, in either direction, and [`crate::cleanup()`] removes either.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::bridge::masquerade::{table_name, within};
use crate::netlink::socket::{NetlinkError, Socket};
use crate::nftables::expr::Expr;
use crate::nftables::family::Family;
use crate::nftables::ruleset::{Chain, Hook, Rule, Table};
use crate::nftables::transaction::{Transaction, comments, look_and_change};

/// The table for a network whose pods have addresses of `all`, those of this node of `own`.
fn table(network: &str, all: IpNet, own: IpNet) -> Table {
    let family = Family::of(all.addr());
    let multicast: IpNet = match family {
        Family::V4 => IpNet::new(IpAddr::from([224, 0, 0, 0]), 4),
        Family::V6 => IpNet::new(IpAddr::from([0xff00, 0, 0, 0, 0, 0, 0, 0]), 8),
    }
    .expect("the prefixes are those of the standards");
    let source = |net, inside| within(family.source(0), net, inside);
    let destination = |net, inside| within(family.destination(0), net, inside);
    let rule = |comment: String, parts: Vec<Vec<Expr>>, verdict: Expr| {
        let mut exprs = parts.concat();
        exprs.push(verdict);
        Rule { comment, exprs }
    };
    let rules = vec![
        rule(
            format!("pods of {all} see each other's addresses"),
            vec![source(all, true), destination(all, true)],
            Expr::Accept,
        ),
        rule(
            format!("masquerade what pods send out of {all}"),
            vec![source(all, true), destination(multicast, false)],
            Expr::Masquerade,
        ),
        rule(
            format!("pods of {own} see who calls"),
            vec![destination(own, true)],
            Expr::Accept,
        ),
        // The answer has to come back this way.
        rule(
            format!("masquerade what others send through this node into {all}"),
            vec![destination(all, true)],
            Expr::Masquerade,
        ),
    ];
    Table {
        family: family.into(),
        name: table_name(network),
        sets: Vec::new(),
        chains: vec![Chain {
            name: "postrouting".to_owned(),
            hook: Some(Hook::NAT_POSTROUTING),
            rules,
        }],
    }
}

/// Ensures the rules in the caller's network namespace; returns whether any was missing or different.
pub fn ensure(network: &str, all: IpNet, own: IpNet) -> Result<bool, NetlinkError> {
    let wanted = table(network, all.trunc(), own.trunc());
    let mut changed = false;
    let action = format!("set up masquerading for network {network}");
    look_and_change(&mut Socket::netfilter()?, &action, |socket| {
        let found = comments(socket, wanted.family, &wanted.name)?;
        if wanted.differing_chains(&found).next().is_none() {
            return Ok(None);
        }
        changed = true;
        let mut transaction = Transaction::default();
        transaction.ensure(&wanted, &found);
        Ok(Some(transaction))
    })?;
    Ok(changed)
}
