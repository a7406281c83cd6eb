//! The pod network of this node, as far as this program provides it.

use ipnet::IpNet;

use super::overlay::Peer;

/// The one of these that is of the same IP family as another.
pub fn of_family(all: &[IpNet], other: IpNet) -> Option<IpNet> {
    all.iter().find(|net| is_same_family(**net, other)).copied()
}

/// Whether both are IPv4 or both IPv6.
pub fn is_same_family(one: IpNet, other: IpNet) -> bool {
    one.addr().is_ipv4() == other.addr().is_ipv4()
}

/// The length of the prefix of a node's subnet where nothing else is stated: those of kube-controller-manager's
/// `--node-cidr-mask-size-ipv4` and `--node-cidr-mask-size-ipv6`.
pub fn subnet_prefix(network: IpNet) -> u8 {
    match network {
        IpNet::V4(_) => 24,
        IpNet::V6(_) => 64,
    }
}

/// What the network's loop says of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodNetwork {
    /// The subnets of the node's pods, at most one of each IP family, once they can be connected with all that they shall
    /// reach. The first is that of a pod's `podIP`.
    pub subnets: Vec<IpNet>,
    /// This node as other nodes need it, in each IP family, where the network has several.
    pub entries: Vec<Peer>,
    /// Whether it is up.
    pub standing: NetworkStanding,
}

/// Whether pods have their network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NetworkStanding {
    /// Another program provides it, and says so itself.
    #[default]
    Another,
    /// It was up when an earlier agent ran, and nothing is known to be wrong.
    Undetermined,
    /// It is up.
    Up,
    /// It is not, for this reason.
    Down(String),
}
