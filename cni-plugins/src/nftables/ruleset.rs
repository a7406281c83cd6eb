//! Tables as values. Every rule has a comment that expresses all that its expressions do, so that rules can be compared
//! by their comments, and so that `nft list ruleset` shows which program wrote a rule and what for.

use std::collections::BTreeMap;

use super::expr::Expr;
use super::family::{Family, TableFamily};

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its family.
    pub family: TableFamily,
    /// Its name.
    pub name: String,
    /// Its sets and maps, without their elements.
    pub sets: Vec<Set>,
    /// Its chains; a chain that is jumped to comes before the one that jumps.
    pub chains: Vec<Chain>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where packets enter it; `None` for one that is jumped to.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// Where packets enter a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// `nat`, `filter`, or `route`: packets whose addresses such a chain changes are routed again.
    pub kind: &'static str,
    /// linux/netfilter.h, and the same in linux/netfilter_bridge.h: 0 prerouting, 1 input, 2 forward, 3 output, 4
    /// postrouting.
    pub number: u32,
    /// Chains at one hook are walked from low to high.
    pub priority: i32,
}

impl Hook {
    /// Before routing, before connections are tracked.
    pub const RAW_PREROUTING: Hook = Hook {
        kind: "filter",
        number: 0,
        priority: -300,
    };
    /// What a port of a bridge receives.
    pub const BRIDGE_PREROUTING: Hook = Hook {
        kind: "filter",
        number: 0,
        priority: -300,
    };
    /// What this host sends, before its connections are tracked.
    pub const RAW_OUTPUT: Hook = Hook {
        kind: "route",
        number: 3,
        priority: -300,
    };
    /// What this host receives, when its translation (priority 100) is undone.
    pub const INPUT_AFTER_NAT: Hook = Hook {
        kind: "filter",
        number: 1,
        priority: 110,
    };
    /// What this host forwards.
    pub const FORWARD: Hook = Hook {
        kind: "filter",
        number: 2,
        priority: 0,
    };
    /// Destination translation of what comes in.
    pub const NAT_PREROUTING: Hook = Hook {
        kind: "nat",
        number: 0,
        priority: -100,
    };
    /// Destination translation of what this host sends.
    pub const NAT_OUTPUT: Hook = Hook {
        kind: "nat",
        number: 3,
        priority: -100,
    };
    /// Source translation of what goes out.
    pub const NAT_POSTROUTING: Hook = Hook {
        kind: "nat",
        number: 4,
        priority: 100,
    };
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// A complete description of what it does.
    pub comment: String,
    /// Its expressions.
    pub exprs: Vec<Expr>,
}

/// A set, or a map if it has a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// The types that its keys consist of.
    pub key: Vec<Type>,
    /// The types that its values consist of.
    pub value: Vec<Type>,
}

/// A type of a part of a key or value; each part takes whole registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `ipv4_addr` or `ipv6_addr`
    Address(Family),
    /// `inet_proto`
    Protocol,
    /// `inet_service`
    Port,
    /// `ifname`
    Interface,
    /// `ether_addr`
    HardwareAddress,
}

impl Type {
    /// The type number used by `nft` (include/datatype.h of nftables); the kernel only stores it.
    pub fn number(self) -> u32 {
        match self {
            Type::Address(Family::V4) => 7,
            Type::Address(Family::V6) => 8,
            Type::Protocol => 12,
            Type::Port => 13,
            Type::Interface => 41,
            Type::HardwareAddress => 9,
        }
    }

    /// Its bytes, rounded up to whole registers.
    pub fn length(self) -> u32 {
        match self {
            Type::Address(family) => family.address_length(),
            Type::Protocol | Type::Port => 4,
            Type::Interface => 16,
            Type::HardwareAddress => 8,
        }
    }
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// The set.
    pub set: String,
    /// Its key, each part padded to whole registers.
    pub key: Vec<u8>,
    /// Its value, in a map.
    pub value: Vec<u8>,
    /// Its owner.
    pub comment: String,
}

/// The comments of a table's rules by chain, as the kernel has them.
pub type Comments = BTreeMap<String, Vec<String>>;

impl Table {
    /// The chains whose rules in the kernel differ from the desired ones.
    pub fn differing_chains<'a>(&'a self, found: &'a Comments) -> impl Iterator<Item = &'a Chain> {
        self.chains.iter().filter(|chain| {
            let wanted = chain.rules.iter().map(|rule| rule.comment.as_str());
            found
                .get(&chain.name)
                .is_none_or(|found| !wanted.eq(found.iter().map(String::as_str)))
        })
    }
}

/// Pads a part of a key to whole registers.
pub fn padded(part: &[u8]) -> Vec<u8> {
    let mut bytes = part.to_vec();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
