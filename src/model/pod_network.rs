//! The pod network of this node, as far as this program provides it.

use ipnet::IpNet;

use super::overlay::Peer;

/// What the network's loop says of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodNetwork {
    /// The subnet of the node's pods, once they can be connected with all that they shall reach.
    pub subnet: Option<IpNet>,
    /// This node as other nodes need it, where the network has several.
    pub entry: Option<Peer>,
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
