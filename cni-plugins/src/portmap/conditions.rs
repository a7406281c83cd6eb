//! `conditionsV4` and `conditionsV6`: which packets are forwarded by the ports of a pod. They are arguments of iptables
//! or an expression of nft, and neither program is run; addresses and interfaces, which most of them use, are parsed
//! here. Pure.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::netlink::addr::ip_bytes;
use crate::nftables::expr::{Expr, interface_name};
use crate::nftables::family::Family;
use crate::request::check_interface_name;
use crate::text::hash;

/// The conditions that must all hold for a packet; if there are none, all packets match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions(Vec<Condition>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    negated: bool,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Source(IpNet),
    Destination(IpNet),
    /// The interface that the packet arrived on; packets of the host itself have none.
    Input(String),
}

impl Conditions {
    /// Parses the conditions for `family`.
    pub fn read(written: &[String], family: Family) -> Result<Self, String> {
        let text = written.join(" ");
        let mut words = text.split_whitespace().peekable();
        let mut conditions = Vec::new();
        while let Some(word) = words.next() {
            let (mut negated, key) = match word {
                "!" => (true, words.next().unwrap_or_default()),
                key => (false, key),
            };
            // nft names the header first, iptables has flags.
            let key = match (key, family) {
                ("ip", Family::V4) | ("ip6", Family::V6) => words.next().unwrap_or_default(),
                _ => key,
            };
            if let Some(operator) = words.next_if(|word| matches!(*word, "!" | "!=" | "==")) {
                negated ^= operator != "==";
            }
            let value = words.next().unwrap_or_default();
            let address = || read_net(value, family);
            let what = match key {
                "-s" | "--source" | "--src" | "saddr" => What::Source(address()?),
                "-d" | "--destination" | "--dst" | "daddr" => What::Destination(address()?),
                "-i" | "--in-interface" | "iifname" | "iif" => What::Input(read_interface(value)?),
                _ => {
                    return Err(format!(
                        "{word:?} is not a supported match; only addresses and interfaces are"
                    ));
                }
            };
            conditions.push(Condition { negated, what });
        }
        Ok(Conditions(conditions))
    }

    /// A short name for these conditions; `None` where there are none.
    pub fn name(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| format!("{:08x}", hash(self.to_string().as_bytes()) >> 32))
    }

    /// The start of a rule, which continues only if the conditions hold.
    pub fn exprs(&self, family: Family) -> Vec<Expr> {
        self.0
            .iter()
            .flat_map(|condition| condition.exprs(family))
            .collect()
    }

    /// Whether packets that the host sends to its own loopback address match.
    pub fn hold_for_loopback(&self, family: Family) -> bool {
        self.0.iter().all(|condition| {
            let matches = match &condition.what {
                What::Source(net) | What::Destination(net) => net.contains(&family.loopback()),
                What::Input(_) => false,
            };
            matches != condition.negated
        })
    }
}

impl Condition {
    fn exprs(&self, family: Family) -> Vec<Expr> {
        let register = 0;
        let (load, mask, value) = match &self.what {
            What::Source(net) => (family.source(0), Some(net.prefix_len()), ip_bytes(net.network())),
            What::Destination(net) => (
                family.destination(0),
                Some(net.prefix_len()),
                ip_bytes(net.network()),
            ),
            What::Input(name) => (Expr::InputName { register }, None, interface_name(name)),
        };
        let compare = match self.negated {
            true => Expr::Differs { register, value },
            false => Expr::Equal { register, value },
        };
        let mask = mask.map(|prefix| Expr::Mask {
            register,
            mask: family.mask(prefix),
        });
        std::iter::once(load).chain(mask).chain([compare]).collect()
    }
}

/// In nft's notation.
impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, condition) in self.0.iter().enumerate() {
            let (space, not) = (
                if number > 0 { " " } else { "" },
                if condition.negated { "!= " } else { "" },
            );
            match &condition.what {
                What::Source(net) => write!(f, "{space}saddr {not}{net}")?,
                What::Destination(net) => write!(f, "{space}daddr {not}{net}")?,
                What::Input(name) => write!(f, "{space}iifname {not}{name}")?,
            }
        }
        Ok(())
    }
}

fn read_net(written: &str, family: Family) -> Result<IpNet, String> {
    let net = written
        .parse::<IpNet>()
        .or_else(|_| written.parse::<IpAddr>().map(IpNet::from));
    match net {
        Ok(net) if Family::of(net.addr()) == family => Ok(net.trunc()),
        _ => Err(format!("{written:?} is not an address or network of this family")),
    }
}

fn read_interface(written: &str) -> Result<String, String> {
    let name = written.trim_matches('"');
    // A plus at the end in iptables, and a star in nft, are wildcards.
    if name.ends_with(['+', '*']) {
        return Err(format!("{written:?} is a pattern; name a single interface"));
    }
    check_interface_name(name)
        .map_err(|reason| format!("invalid interface name {written:?}: it {reason}"))?;
    Ok(name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(written: &[&str], family: Family) -> Result<Conditions, String> {
        Conditions::read(
            &written.iter().map(|word| word.to_string()).collect::<Vec<_>>(),
            family,
        )
    }

    #[test]
    fn iptables_and_nft_say_the_same() {
        let check = |written: &[&str], family, expected: &str| {
            assert_eq!(
                read(written, family).unwrap().to_string(),
                expected,
                "{written:?}"
            );
        };
        let v4 = Family::V4;
        check(&[], v4, "");
        check(&[""], v4, "");
        // The examples from the plugin's documentation.
        check(&["!", "-d", "192.0.2.0/24"], v4, "daddr != 192.0.2.0/24");
        check(&["!", "-d", "fc00::/7"], Family::V6, "daddr != fc00::/7");
        check(&["ip daddr != 192.0.2.0/24"], v4, "daddr != 192.0.2.0/24");
        check(&["ip6 saddr fd00::1"], Family::V6, "saddr fd00::1/128");
        check(&["-d", "! 192.0.2.1"], v4, "daddr != 192.0.2.1/32");
        check(
            &["-s", "10.0.0.0/8", "!", "-i", "eth1"],
            v4,
            "saddr 10.0.0.0/8 iifname != eth1",
        );
        check(
            &["iifname \"eth0\" ip saddr == 10.1.2.3"],
            v4,
            "iifname eth0 saddr 10.1.2.3/32",
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (written, named) in [
            (&["-m", "set"][..], "\"-m\""),
            (&["-d", "fd00::/8"], "fd00::/8"),
            (&["ip6 daddr fd00::1"], "\"ip6\""),
            (&["-d"], "\"\""),
            (&["!"], "\"!\""),
            (&["-i", "eth+"], "pattern"),
            (&["tcp dport 80"], "\"tcp\""),
        ] {
            let error = read(written, Family::V4).unwrap_err();
            assert!(error.contains(named), "{written:?}: {error}");
        }
    }

    #[test]
    fn loopback_is_judged_as_the_kernel_would() {
        for (written, holds) in [
            (&[][..], true),
            (&["!", "-d", "192.0.2.0/24"], true),
            (&["-d", "192.0.2.1"], false),
            (&["-d", "127.0.0.0/8"], true),
            (&["-i", "eth0"], false),
            (&["!", "-i", "eth0"], true),
        ] {
            assert_eq!(
                read(written, Family::V4).unwrap().hold_for_loopback(Family::V4),
                holds,
                "{written:?}"
            );
        }
    }
}
