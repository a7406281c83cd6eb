//! `subnet.env`, the file in which flannel's daemon says which subnet this node has (pkg/subnet/subnet.go and
//! pkg/ip/iface.go of flannel write it). Lines of the form `KEY=VALUE`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ipnet::IpNet;

/// What is longer was not written by flannel.
const LONGEST: u64 = 64 << 10;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// The networks of all nodes, those of IPv4 first.
    pub networks: Vec<IpNet>,
    /// This node's subnets, that of IPv4 first.
    pub subnets: Vec<IpNet>,
    /// The largest packet between nodes.
    pub mtu: u32,
    /// Whether flannel's daemon masquerades what leaves the networks.
    pub masquerades: bool,
}

impl Subnet {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        File::open(path)?.take(LONGEST).read_to_string(&mut text)?;
        Self::parse(&text).map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))
    }

    /// Parses the text of the file. Other keys than flannel's are ignored; of a key that appears twice the last one
    /// counts, as in the original.
    pub fn parse(text: &str) -> Result<Self, String> {
        let of = |key: &str| {
            text.lines()
                .rev()
                .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))
        };
        let nets = |key: &str, v4: bool| -> Result<Vec<IpNet>, String> {
            let mut nets: Vec<IpNet> = Vec::new();
            for written in of(key).into_iter().flat_map(|list| list.split(',')) {
                let net = written.trim().parse::<IpNet>().ok().map(|net| net.trunc());
                let net = net.filter(|net| net.addr().is_ipv4() == v4);
                let net = net.ok_or_else(|| format!("{key}: {written:?} is not a network"))?;
                if !nets.contains(&net) {
                    nets.push(net);
                }
            }
            Ok(nets)
        };
        let mut networks = nets("FLANNEL_NETWORK", true)?;
        networks.extend(nets("FLANNEL_IPV6_NETWORK", false)?);
        let mut subnets = Vec::new();
        for (key, v4) in [("FLANNEL_SUBNET", true), ("FLANNEL_IPV6_SUBNET", false)] {
            match nets(key, v4)?.as_slice() {
                [] => {}
                [one] => subnets.push(*one),
                _ => return Err(format!("{key} must be one network")),
            }
        }
        let mtu = of("FLANNEL_MTU").map(|written| {
            written
                .trim()
                .parse()
                .map_err(|_| format!("FLANNEL_MTU: {written:?} is not a number"))
        });
        let mtu = mtu.transpose()?;
        let masquerades = of("FLANNEL_IPMASQ").map(|written| written.trim() == "true");
        let missing = [
            ("FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK", networks.is_empty()),
            ("FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET", subnets.is_empty()),
            ("FLANNEL_MTU", mtu.is_none()),
            ("FLANNEL_IPMASQ", masquerades.is_none()),
        ];
        match (mtu, masquerades) {
            (Some(mtu), Some(masquerades)) if !networks.is_empty() && !subnets.is_empty() => Ok(Subnet {
                networks,
                subnets,
                mtu,
                masquerades,
            }),
            _ => {
                let missing = missing.into_iter().filter(|(_, is)| *is).map(|(key, _)| key);
                Err(format!("missing {}", missing.collect::<Vec<_>>().join(", ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_daemon_is_read() {
        let check = |text: &str, networks: &[&str], subnets: &[&str], mtu: u32, masquerades: bool| {
            let net = |written: &&str| written.parse().unwrap();
            let expected = Subnet {
                networks: networks.iter().map(net).collect(),
                subnets: subnets.iter().map(net).collect(),
                mtu,
                masquerades,
            };
            assert_eq!(Subnet::parse(text), Ok(expected), "{text}");
        };
        check(
            "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n",
            &["10.1.0.0/16"],
            &["10.1.17.0/24"],
            1472,
            true,
        );
        check(
            "FLANNEL_NETWORK=10.1.0.0/16,10.2.0.0/16,10.1.0.0/16\r\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1450\n\
             FLANNEL_IPV6_NETWORK=fd00::/56\nFLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64\nFLANNEL_IPMASQ=false\nOTHER\n=\n",
            &["10.1.0.0/16", "10.2.0.0/16", "fd00::/56"],
            &["10.1.17.0/24", "fd00:0:0:1::/64"],
            1450,
            false,
        );
        check(
            "FLANNEL_IPV6_NETWORK=fd00::/56\nFLANNEL_IPV6_SUBNET=fd00::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=no",
            &["fd00::/56"],
            &["fd00::/64"],
            1450,
            false,
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let whole = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";
        for line in whole.lines() {
            let key = line.split('=').next().unwrap();
            let error = Subnet::parse(&whole.replace(line, "")).unwrap_err();
            assert!(error.starts_with("missing") && error.contains(key), "{error}");
            let error = Subnet::parse(&format!("{whole}{key}=x"));
            assert_eq!(error.is_ok(), key == "FLANNEL_IPMASQ", "{key}: {error:?}");
        }
        assert!(Subnet::parse(&format!("{whole}FLANNEL_SUBNET=fd00::/64")).is_err());
    }
}
