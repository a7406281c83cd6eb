//! Masquerading of a network: packets that its pods send out of their subnets get the address of the host.
//!
//! One table per network, whose rules match subnets, not pods: its size does not grow, an ADD only ensures that it
//! exists, a DEL has nothing to do. It stays as long as the network's bridge does; [`crate::cleanup()`] removes both.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::netlink::addr::ip_bytes;
use crate::netlink::socket::{NetlinkError, Socket};
use crate::nftables::expr::Expr;
use crate::nftables::family::Family;
use crate::nftables::ruleset::{Chain, Hook, Rule, Table};
use crate::nftables::transaction::{Transaction, comments, delete_table, look_and_change};
use crate::text::short_enough;

const CHAIN: &str = "postrouting";
const COMMENT: &str = "masquerade what leaves ";

/// The table of a network. Two networks never share one.
pub fn table_name(network: &str) -> String {
    // The kernel allows 255 bytes, but a short name is easier to read.
    format!("gantry-masquerade-{}", short_enough(network, 60))
}

/// The table that masquerades `subnets` of one family.
pub fn table(network: &str, family: Family, subnets: &BTreeSet<IpNet>) -> Table {
    let rules = subnets.iter().map(|subnet| rule(*subnet)).collect();
    let chain = Chain {
        name: CHAIN.to_string(),
        hook: Some(Hook::NAT_POSTROUTING),
        rules,
    };
    Table {
        family: family.into(),
        name: table_name(network),
        sets: Vec::new(),
        chains: vec![chain],
    }
}

fn rule(subnet: IpNet) -> Rule {
    let family = Family::of(subnet.addr());
    let multicast: IpNet = match family {
        Family::V4 => IpNet::new(IpAddr::from([224, 0, 0, 0]), 4),
        Family::V6 => IpNet::new(IpAddr::from([0xff00, 0, 0, 0, 0, 0, 0, 0]), 8),
    }
    .expect("the prefixes are those of the standards");
    let mut exprs = within(family.source(0), subnet, true);
    exprs.extend(within(family.destination(0), subnet, false));
    exprs.extend(within(family.destination(0), multicast, false));
    exprs.push(Expr::Masquerade);
    Rule {
        comment: format!("{COMMENT}{subnet}"),
        exprs,
    }
}

fn subnet_of(comment: &str) -> Option<IpNet> {
    comment.strip_prefix(COMMENT)?.parse().ok()
}

/// Whether the loaded address is in a network, or is not.
pub(crate) fn within(load: Expr, net: IpNet, inside: bool) -> Vec<Expr> {
    let (register, mask) = (0, Family::of(net.addr()).mask(net.prefix_len()));
    let value = ip_bytes(net.network());
    let compare = if inside {
        Expr::Equal { register, value }
    } else {
        Expr::Differs { register, value }
    };
    vec![load, Expr::Mask { register, mask }, compare]
}

/// Ensures masquerading for `subnets`. Other subnets of the network, in which other pods may have addresses, remain.
pub fn ensure(socket: &mut Socket, network: &str, subnets: &[IpNet]) -> Result<(), NetlinkError> {
    let action = format!("set up masquerading for network {network}");
    for (family, own) in by_family(subnets) {
        look_and_change(socket, &action, |socket| {
            let found = comments(socket, family, &table_name(network))?;
            let mut all = own.clone();
            all.extend(found.values().flatten().filter_map(|comment| subnet_of(comment)));
            let wanted = table(network, family, &all);
            if wanted.differing_chains(&found).next().is_none() {
                return Ok(None);
            }
            let mut transaction = Transaction::default();
            transaction.ensure(&wanted, &found);
            Ok(Some(transaction))
        })?;
    }
    Ok(())
}

/// The first of `subnets` that is not masqueraded.
pub fn missing(socket: &mut Socket, network: &str, subnets: &[IpNet]) -> Result<Option<IpNet>, NetlinkError> {
    for (family, own) in by_family(subnets) {
        let found = comments(socket, family, &table_name(network))?;
        let there: BTreeSet<IpNet> = found
            .values()
            .flatten()
            .filter_map(|comment| subnet_of(comment))
            .collect();
        if let Some(missing) = own.into_iter().find(|subnet| !there.contains(subnet)) {
            return Ok(Some(missing));
        }
    }
    Ok(None)
}

/// Removes the masquerading of a network.
pub fn remove(socket: &mut Socket, network: &str) -> Result<(), NetlinkError> {
    Family::ALL
        .into_iter()
        .try_for_each(|family| delete_table(socket, family, &table_name(network)))
}

fn by_family(subnets: &[IpNet]) -> impl Iterator<Item = (Family, BTreeSet<IpNet>)> {
    Family::ALL.into_iter().filter_map(|family| {
        let own = subnets
            .iter()
            .map(IpNet::trunc)
            .filter(|subnet| Family::of(subnet.addr()) == family);
        Some((family, own.collect::<BTreeSet<_>>())).filter(|(_, own)| !own.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_known_again_by_its_comment() {
        for subnet in ["10.1.0.0/24", "fd00:1::/64"] {
            let subnet: IpNet = subnet.parse().unwrap();
            assert_eq!(subnet_of(&rule(subnet).comment), Some(subnet));
        }
        assert_eq!(subnet_of("something else"), None);
    }

    #[test]
    fn networks_with_long_names_have_tables_of_their_own() {
        let (one, two) = (format!("{}1", "n".repeat(200)), format!("{}2", "n".repeat(200)));
        assert_ne!(table_name(&one), table_name(&two));
        assert!(table_name(&one).len() < 128);
    }
}
