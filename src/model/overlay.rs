//! The nodes that the pod network connects, as each knows of the others.
//!
//! The names of back ends and the form of their data are flannel's (*Kubernetes subnet manager* and *Backends* of its
//! documentation), so that a node of either kind reads what the other wrote.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// Why a text is no Ethernet address of one station.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the MAC address of a device; write it like 1a:2b:3c:4d:5e:6f")]
pub struct NoMac(String);

impl FromStr for Mac {
    type Err = NoMac;

    fn from_str(text: &str) -> Result<Mac, NoMac> {
        let no_mac = || NoMac(text.chars().take(32).collect());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let is_byte =
                |part: &&str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            let part = parts.next().filter(is_byte).ok_or_else(no_mac)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| no_mac())?;
        }
        // A group's address has the lowest bit of the first byte (IEEE 802); a device that is asked to take it fails.
        let is_device = bytes[0] & 1 == 0 && bytes != [0; 6];
        match parts.next() {
            None if is_device => Ok(Mac(bytes)),
            _ => Err(no_mac()),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// How packets reach a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// In UDP packets to its public address.
    Vxlan {
        /// The VXLAN network identifier.
        vni: u32,
        /// The address of its tunnel endpoint.
        mac: Mac,
    },
    /// By a route via its public address, which is on the same link.
    HostGw,
}

impl Backend {
    /// Flannel's name for it.
    pub fn name(&self) -> &'static str {
        match self {
            Backend::Vxlan { .. } => "vxlan",
            Backend::HostGw => "host-gw",
        }
    }
}

/// How packets travel between nodes, as configured: the back ends of flannel's documentation with their options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In UDP packets.
    Vxlan {
        /// The VXLAN network identifier; flannel's default is 1.
        vni: u32,
        /// The UDP port; flannel's default is 8472.
        port: u16,
        /// `DirectRouting`: nodes on the same link are reached without encapsulation.
        is_direct: bool,
    },
    /// By routes via nodes of the same link.
    HostGw,
}

/// One node of the network, in one IP family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The node's name.
    pub name: String,
    /// The address at which other nodes reach it.
    pub address: IpAddr,
    /// Where the addresses of its pods are from.
    pub subnet: IpNet,
    /// How to reach it.
    pub backend: Backend,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_is_written_as_it_is_read() {
        let mac: Mac = "1A:2b:3c:04:5e:6f".parse().unwrap();
        assert_eq!(mac.to_string(), "1a:2b:3c:04:5e:6f");
        for wrong in [
            "",
            "1a:2b:3c:4d:5e",
            "1a:2b:3c:4d:5e:6f:70",
            "1a:2b:3c:4d:5e:6g",
            "1:2:3:4:5:6",
            "+2:2b:3c:4d:5e:6f",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
        ] {
            assert_eq!(wrong.parse::<Mac>(), Err(NoMac(wrong.to_owned())));
        }
    }
}
