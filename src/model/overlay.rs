//! The nodes that the pod network connects, as each knows of the others.
//!
//! The names of back ends and the form of their data are flannel's (*Kubernetes subnet manager* and *Backends* of its
//! documentation), so that a node of either kind reads what the other wrote.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

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
    /// The address of its tunnel endpoint, if it has one.
    pub fn mac(&self) -> Option<Mac> {
        match self {
            Backend::Vxlan { mac, .. } => Some(*mac),
            Backend::HostGw => None,
        }
    }

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

/// The nodes of the network, as their source knows them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Peers {
    /// They were not read yet: those that packets are sent to stay.
    #[default]
    Unknown,
    /// They cannot be read, for this reason; as with `Unknown`.
    Unreadable(String),
    /// All of them. This node may be among them. One that has not changed is the same `Arc` as before.
    Known(Arc<[Arc<Peer>]>),
}

/// Whether other machines can reach one machine by this address.
pub fn is_of_one_machine(address: IpAddr) -> bool {
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback())
}

impl Peers {
    /// Becomes what is known now; what was known stays while it cannot be read. Returns whether it has changed.
    pub fn take(&mut self, now: Peers) -> bool {
        let is_kept = matches!((&*self, &now), (Peers::Known(_), Peers::Unreadable(_)));
        !is_kept && replace(self, now)
    }
}

impl ClusterNetwork {
    /// As [`Peers::take`].
    pub fn take(&mut self, now: ClusterNetwork) -> bool {
        let was_read = matches!(self, ClusterNetwork::Stated { .. } | ClusterNetwork::Unstated);
        let is_kept = was_read && matches!(now, ClusterNetwork::Unreadable(_));
        !is_kept && replace(self, now)
    }
}

fn replace<T: PartialEq>(before: &mut T, now: T) -> bool {
    let differs = *before != now;
    *before = now;
    differs
}

/// What a cluster says of its pod network: the `net-conf.json` of flannel's ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClusterNetwork {
    /// It was not read yet.
    #[default]
    Unknown,
    /// It cannot be read or is wrong, for this reason.
    Unreadable(String),
    /// It says nothing.
    Unstated,
    /// It says this.
    Stated {
        /// The network of all pods, in each IP family that it has.
        networks: Vec<IpNet>,
        /// How packets travel.
        transport: Transport,
    },
}

/// The annotations of a Node that are about the pod network, as flannel's daemon writes them (its *Kubernetes subnet
/// manager*).
pub mod annotation {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use super::is_of_one_machine;

    /// Whether the node's subnet is that of `Node.spec.podCIDR`: `true`.
    pub const MANAGED: &str = "flannel.alpha.coreos.com/kube-subnet-manager";
    /// The back end.
    pub const TYPE: &str = "flannel.alpha.coreos.com/backend-type";

    /// The annotations of one IP family.
    #[derive(Debug)]
    pub struct Family {
        /// Which family.
        pub is_v4: bool,
        /// The data of the back end, as JSON.
        pub data: &'static str,
        /// The address at which other nodes reach the node.
        pub address: &'static str,
        /// Another one that counts instead, which an administrator has written.
        pub overwrite: &'static str,
    }

    /// Has the address that an administrator has written into the Node (`theirs`) count in the node's own annotations, too, as
    /// flannel's daemon does: its other nodes read the node's own address alone. One that is none, or of the other IP family,
    /// is not passed on.
    pub fn apply_overwrites(ours: &mut BTreeMap<String, String>, theirs: &BTreeMap<String, String>) {
        for family in [&V4, &V6] {
            let overwritten = theirs.get(family.overwrite);
            let is_sound = |text: &&String| {
                let address = text.parse::<IpAddr>();
                address.is_ok_and(|address| address.is_ipv4() == family.is_v4 && is_of_one_machine(address))
            };
            if let (Some(address), Some(own)) = (overwritten.filter(is_sound), ours.get_mut(family.address)) {
                own.clone_from(address);
            }
        }
    }

    /// IPv4.
    pub const V4: Family = Family {
        is_v4: true,
        data: "flannel.alpha.coreos.com/backend-data",
        address: "flannel.alpha.coreos.com/public-ip",
        overwrite: "flannel.alpha.coreos.com/public-ip-overwrite",
    };
    /// IPv6.
    pub const V6: Family = Family {
        is_v4: false,
        data: "flannel.alpha.coreos.com/backend-v6-data",
        address: "flannel.alpha.coreos.com/public-ipv6",
        overwrite: "flannel.alpha.coreos.com/public-ipv6-overwrite",
    };
}

impl Peer {
    /// Its annotations, for the Node object.
    pub fn annotations(&self) -> [(&'static str, String); 4] {
        let family = match self.address {
            IpAddr::V4(_) => &annotation::V4,
            IpAddr::V6(_) => &annotation::V6,
        };
        let data = match self.backend {
            // The order and the form of flannel's.
            Backend::Vxlan { vni, mac } => format!(r#"{{"VNI":{vni},"VtepMAC":"{mac}"}}"#),
            Backend::HostGw => "null".to_owned(),
        };
        [
            (annotation::MANAGED, "true".to_owned()),
            (annotation::TYPE, self.backend.name().to_owned()),
            (family.data, data),
            (family.address, self.address.to_string()),
        ]
    }
}

impl Transport {
    /// Flannel's default VXLAN network identifier (*Backends* of its documentation).
    pub const VNI: u32 = 1;
    /// Flannel's default UDP port of VXLAN, which is the kernel's and not that of RFC 7348.
    pub const PORT: u16 = 8472;
    /// VXLAN with these.
    pub const VXLAN: Transport = Transport::Vxlan {
        vni: Transport::VNI,
        port: Transport::PORT,
        is_direct: false,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_administrators_address_counts_instead_of_the_nodes_own() {
        let texts = |texts: &[(&str, &str)]| -> std::collections::BTreeMap<String, String> {
            let named = |(name, text): &(&str, &str)| {
                (format!("flannel.alpha.coreos.com/{name}"), (*text).to_owned())
            };
            texts.iter().map(named).collect()
        };
        let both = [("public-ip", "192.0.2.7"), ("public-ipv6", "2001:db8::7")];
        let check = |ours: &[(&str, &str)], theirs: &[(&str, &str)], expected: &[(&str, &str)]| {
            let mut ours = texts(ours);
            annotation::apply_overwrites(&mut ours, &texts(theirs));
            assert_eq!(ours, texts(expected), "{theirs:?}");
        };
        let (v4, v6) = (
            ("public-ip-overwrite", "198.51.100.7"),
            ("public-ipv6-overwrite", "2001:db8:1::7"),
        );
        check(&both, &[v4], &[("public-ip", "198.51.100.7"), both[1]]);
        check(&both, &[v6], &[both[0], ("public-ipv6", "2001:db8:1::7")]);
        check(
            &both,
            &[v4, v6],
            &[("public-ip", "198.51.100.7"), ("public-ipv6", "2001:db8:1::7")],
        );
        // A node without an address in that family gets none.
        check(&both[..1], &[v6], &both[..1]);
        check(&[], &[v4, v6], &[]);
        for wrong in ["", "here", "127.0.0.1", "0.0.0.0", "224.0.0.1", "2001:db8:1::7"] {
            check(&both, &[("public-ip-overwrite", wrong)], &both);
        }
    }

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
