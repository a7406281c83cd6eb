//! The table that keeps bridges apart: pure. What a pod of one of its bridges sends to another of its bridges is dropped,
//! and for isolated ones what it sends back into its own, where the host forwards that.
//!
//! A packet is dropped as soon as one table says so, whatever the others say, so this needs no rule in anybody else's.

use std::collections::BTreeMap;

use super::conf::Policy;
use crate::nftables::expr::{Expr, interface_name};
use crate::nftables::family::Family;
use crate::nftables::ruleset::{Chain, Comments, Hook, Rule, Table};

/// The table of all networks.
pub const TABLE: &str = "gantry-isolation";
const BETWEEN: &str = "between";
const FROM: &str = "from bridge ";
const WITHIN: &str = "within bridge ";
const TO: &str = "to bridge ";

/// Bridges with their policies, of which none is [`Policy::Open`].
pub type Bridges = BTreeMap<String, Policy>;

/// The bridges that the kernel's table keeps apart.
pub fn known(found: &Comments) -> Bridges {
    let comments = || found.values().flatten();
    let named = |prefix| comments().filter_map(move |comment| comment.strip_prefix(prefix));
    let mut bridges: Bridges = named(FROM)
        .map(|name| (name.to_string(), Policy::SameBridge))
        .collect();
    bridges.extend(named(WITHIN).map(|name| (name.to_string(), Policy::Isolated)));
    bridges
}

/// Adds a bridge. Of two policies for one, the narrower counts: there may be pods that were promised it.
pub fn with(mut bridges: Bridges, name: &str, policy: Policy) -> Bridges {
    let entry = bridges.entry(name.to_string()).or_insert(policy);
    if policy == Policy::Isolated {
        *entry = policy;
    }
    bridges
}

/// The table that keeps `bridges` apart.
pub fn table(family: Family, bridges: &Bridges) -> Table {
    let mut forward: Vec<Rule> = Vec::new();
    for (name, policy) in bridges {
        if *policy == Policy::Isolated {
            forward.push(Rule {
                comment: format!("{WITHIN}{name}"),
                exprs: [input(name), output(name, true), vec![Expr::Drop]].concat(),
            });
        }
        forward.push(Rule {
            comment: format!("{FROM}{name}"),
            exprs: [input(name), output(name, false), vec![Expr::Jump(BETWEEN.into())]].concat(),
        });
    }
    let between = bridges.keys().map(|name| Rule {
        comment: format!("{TO}{name}"),
        exprs: [output(name, true), vec![Expr::Drop]].concat(),
    });
    Table {
        family: family.into(),
        name: TABLE.to_string(),
        sets: Vec::new(),
        chains: vec![
            Chain {
                name: BETWEEN.to_string(),
                hook: None,
                rules: between.collect(),
            },
            Chain {
                name: "forward".to_string(),
                hook: Some(Hook::FORWARD),
                rules: forward,
            },
        ],
    }
}

fn input(name: &str) -> Vec<Expr> {
    let (register, value) = (0, interface_name(name));
    vec![Expr::InputName { register }, Expr::Equal { register, value }]
}

fn output(name: &str, same: bool) -> Vec<Expr> {
    let (register, value) = (0, interface_name(name));
    let compare = if same {
        Expr::Equal { register, value }
    } else {
        Expr::Differs { register, value }
    };
    vec![Expr::OutputName { register }, compare]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_table_has_is_read_back_from_the_rules() {
        let bridges = with(Bridges::new(), "cni0", Policy::SameBridge);
        let bridges = with(bridges, "cni1", Policy::Isolated);
        let found = table(Family::V4, &bridges).chains.into_iter().map(|chain| {
            let comments = chain.rules.into_iter().map(|rule| rule.comment);
            (chain.name, comments.collect())
        });
        assert_eq!(known(&found.collect()), bridges);
    }

    #[test]
    fn the_narrower_policy_stays() {
        let one = |first, second| with(with(Bridges::new(), "b", first), "b", second)["b"];
        assert_eq!(one(Policy::SameBridge, Policy::Isolated), Policy::Isolated);
        assert_eq!(one(Policy::Isolated, Policy::SameBridge), Policy::Isolated);
        assert_eq!(one(Policy::SameBridge, Policy::SameBridge), Policy::SameBridge);
    }
}
