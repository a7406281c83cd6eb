//! Which part of the pod network this node uses for its pods. Pure.

use ipnet::IpNet;

use crate::model::api::ApiNode;
use crate::model::pod_network::{is_same_family, subnet_prefix};

/// The subnets of a network that are looked at: more than nodes can be.
const MOST: usize = 1 << 16;

/// A route of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoute {
    /// Its destination.
    pub destination: IpNet,
    /// Its device.
    pub device: String,
}

/// Why the node has no subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// The requested subnet is in use.
    #[error(
        "the pod subnet {subnet} overlaps the route {} by {} of this host; choose another with --pod-cidr",
        route.destination, route.device
    )]
    Overlap {
        /// What was requested.
        subnet: IpNet,
        /// The overlapping route.
        route: HostRoute,
    },
    /// Every subnet of the network is in use.
    #[error(
        "every /{} of the pod network {network} overlaps a route of this host (the first: {} by {}); choose another \
         network with --network-cidr, or a subnet with --pod-cidr",
        subnet_prefix(*network), route.destination, route.device
    )]
    Exhausted {
        /// The pod network.
        network: IpNet,
        /// The route that overlaps its first subnet.
        route: HostRoute,
    },
    /// Other nodes have every subnet.
    #[error(
        "every /{prefix} of the pod network {0} belongs to another node; remove nodes that are gone from the file of peers, or \
         choose a larger network with --network-cidr", prefix = subnet_prefix(*.0)
    )]
    AllTaken(IpNet),
    /// The network has no room for a node's subnet.
    #[error("the pod network {0} is smaller than a /{prefix}; choose a larger one with --network-cidr", prefix = subnet_prefix(*.0))]
    TooSmall(IpNet),
}

/// Chooses the node's subnet: the requested one, else the former one while that is still within the network and free,
/// else the first free one of the usual length that is no other node's (`taken`). A route by `bridge` is the agent's own and does not count; nor
/// does the default route. A former subnet that another node has, too, stays: pods have addresses of it.
pub(super) fn choose(
    network: IpNet,
    asked: Option<IpNet>,
    before: Option<IpNet>,
    (routes, taken): (&[HostRoute], &[IpNet]),
    bridge: &str,
) -> Result<IpNet, SubnetError> {
    let overlapping = |subnet: IpNet| {
        routes.iter().find(|route| {
            let theirs = route.destination;
            route.device != bridge
                && theirs.prefix_len() > 0
                && (theirs.contains(&subnet.network()) || subnet.contains(&theirs.network()))
        })
    };
    if let Some(subnet) = asked.map(|subnet| subnet.trunc()) {
        return match overlapping(subnet) {
            Some(route) => Err(SubnetError::Overlap {
                subnet,
                route: route.clone(),
            }),
            None => Ok(subnet),
        };
    }
    if let Some(subnet) = before.filter(|subnet| network.contains(subnet) && overlapping(*subnet).is_none()) {
        return Ok(subnet);
    }
    let mut first = None;
    for subnet in network
        .trunc()
        .subnets(subnet_prefix(network))
        .map_err(|_| SubnetError::TooSmall(network))?
        .take(MOST)
    {
        let is_taken = || {
            let mut others = taken.iter();
            others.any(|other| other.contains(&subnet) || subnet.contains(other))
        };
        match overlapping(subnet) {
            None if is_taken() => {}
            None => return Ok(subnet),
            Some(route) => first = first.or(Some(route)),
        }
    }
    match first {
        None if !taken.is_empty() => Err(SubnetError::AllTaken(network)),
        Some(route) => Err(SubnetError::Exhausted {
            network,
            route: route.clone(),
        }),
        None => Err(SubnetError::TooSmall(network)),
    }
}

/// `Node.spec.podCIDRs`: in a dual-stack cluster one of each IP family.
pub(super) fn given(node: &ApiNode) -> Vec<IpNet> {
    let ApiNode::Present(node) = node else {
        return Vec::new();
    };
    let mut all: Vec<IpNet> = Vec::new();
    let spec = node.spec.iter();
    let texts = spec.flat_map(|spec| spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr));
    for net in texts.filter_map(|text| text.parse::<IpNet>().ok()) {
        if !all.iter().any(|other| is_same_family(*other, net)) {
            all.push(net.trunc());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn check(asked: Option<&str>, before: Option<&str>, routes: &[(&str, &str)]) -> Result<String, String> {
        let routes: Vec<_> = routes
            .iter()
            .map(|(to, device)| HostRoute {
                destination: net(to),
                device: (*device).to_owned(),
            })
            .collect();
        choose(
            net("10.244.0.0/16"),
            asked.map(net),
            before.map(net),
            (&routes, &[]),
            "gantry0",
        )
        .map(|subnet| subnet.to_string())
        .map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_free_subnet_is_taken() {
        let lan = ("192.0.2.0/24", "eth0");
        assert_eq!(
            check(None, None, &[("0.0.0.0/0", "eth0"), lan]).unwrap(),
            "10.244.0.0/24"
        );
        assert_eq!(
            check(None, None, &[("10.244.0.0/23", "wg0")]).unwrap(),
            "10.244.2.0/24"
        );
        assert_eq!(
            check(None, None, &[("10.244.0.7/32", "wg0")]).unwrap(),
            "10.244.1.0/24"
        );
    }

    #[test]
    fn our_own_bridge_is_no_obstacle() {
        assert_eq!(
            check(None, Some("10.244.9.0/24"), &[("10.244.9.0/24", "gantry0")]).unwrap(),
            "10.244.9.0/24"
        );
    }

    #[test]
    fn the_former_subnet_is_given_up_when_the_network_changed() {
        assert_eq!(check(None, Some("10.9.9.0/24"), &[]).unwrap(), "10.244.0.0/24");
    }

    #[test]
    fn another_nodes_subnet_is_not_chosen() {
        let taken = [net("10.244.0.0/23"), net("10.244.2.0/25")];
        let choose = |network: &str, before| choose(net(network), None, before, (&[], &taken), "gantry0");
        assert_eq!(choose("10.244.0.0/16", None), Ok(net("10.244.3.0/24")));
        let before = Some(net("10.244.1.0/24"));
        assert_eq!(choose("10.244.0.0/16", before), Ok(net("10.244.1.0/24")));
        let none = net("10.244.0.0/23");
        assert_eq!(choose("10.244.0.0/23", None), Err(SubnetError::AllTaken(none)));
    }

    #[test]
    fn an_overlap_is_refused_with_the_route_and_the_remedy() {
        let error = check(Some("10.244.3.0/24"), None, &[("10.0.0.0/8", "tun0")]).unwrap_err();
        assert_eq!(
            error,
            "the pod subnet 10.244.3.0/24 overlaps the route 10.0.0.0/8 by tun0 of this host; choose another with \
             --pod-cidr"
        );
        let error = check(None, None, &[("10.0.0.0/8", "tun0")]).unwrap_err();
        assert!(
            error.contains("every /24 of the pod network 10.244.0.0/16 overlaps"),
            "{error}"
        );
    }

    #[test]
    fn a_cluster_gives_one_subnet_of_each_family() {
        let node = |spec: serde_json::Value| {
            let node = serde_json::json!({"metadata": {"name": "vm"}, "spec": spec});
            let node = serde_json::from_value(node).unwrap();
            let given = given(&ApiNode::Present(std::sync::Arc::new(node)));
            given.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            node(serde_json::json!({"podCIDR": "10.1.2.0/24", "podCIDRs": ["10.1.2.0/24"]})),
            ["10.1.2.0/24"]
        );
        assert_eq!(
            node(serde_json::json!({"podCIDR": "fd00::/64", "podCIDRs": ["fd00::/64", "10.1.2.0/24"]})),
            ["fd00::/64", "10.1.2.0/24"]
        );
        assert_eq!(
            node(serde_json::json!({"podCIDR": "10.1.2.0/24"})),
            ["10.1.2.0/24"]
        );
        assert!(node(serde_json::json!({})).is_empty());
        assert!(given(&ApiNode::Absent).is_empty());
    }

    #[test]
    fn an_ipv6_node_gets_a_64() {
        let choose =
            |network: &str, taken: &[IpNet]| choose(net(network), None, None, (&[], taken), "gantry0");
        assert_eq!(
            choose("fd00:10:244::/48", &[net("fd00:10:244::/64")]),
            Ok(net("fd00:10:244:1::/64"))
        );
        let small = choose("fd00:10:244::/72", &[]).unwrap_err();
        assert!(small.to_string().contains("smaller than a /64"), "{small}");
    }
}
