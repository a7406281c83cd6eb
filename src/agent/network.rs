//! Wires the network's loop.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::tasks::Tasks;
use super::values::Values;
use crate::config::{Config, PodNetwork};
use crate::network::{self, Between, Connects, Inputs, NetworkSettings, Nodes};

/// Sets the pods' network up, now or as soon as its subnet is known, and looks after it.
pub(super) async fn connect(
    tasks: &mut Tasks,
    config: &Config,
    values: &Values,
    addresses: watch::Receiver<Arc<[IpAddr]>>,
) -> anyhow::Result<()> {
    let connects = who_connects(config);
    let inputs = Inputs {
        connects,
        guards_loopback: config.network.util_chains,
        settings: NetworkSettings {
            networks: config.network.range.clone(),
            subnets: config.network.pod_cidr.clone(),
            conf_dir: config.network.cni_conf_dir.clone(),
            data_dir: PathBuf::from(network::DATA_DIR),
            state_dir: config.paths.state.clone(),
            between: None,
            taken: Vec::new(),
        },
        between: nodes(config, values, connects).map(|nodes| between(config, nodes, addresses)),
        node: values.api_node.1.clone(),
        socket: config.serve.socket.clone(),
        out: values.network.0.clone(),
    };
    let begun = network::begin(inputs).await?;
    tasks.spawn("network", begun.run(tasks.cancel.clone()));
    Ok(())
}

/// From where it is known which nodes the network has; absent if it ends at this one.
fn nodes(config: &Config, values: &Values, connects: Connects) -> Option<Nodes> {
    match (connects, &config.network.overlay.peers) {
        (Connects::OwnAsTheClusterSays, _) => Some(Nodes::Cluster {
            peers: values.peers.1.clone(),
            network: values.cluster_network.1.clone(),
        }),
        (Connects::Own, Some(file)) => Some(Nodes::File(file.clone())),
        (Connects::Own, None) | (Connects::Another, _) => None,
    }
}

fn between(config: &Config, nodes: Nodes, addresses: watch::Receiver<Arc<[IpAddr]>>) -> Between {
    Between {
        name: config.node.name.clone(),
        networks: config.network.range.clone(),
        transport: config.network.overlay.transport,
        state_dir: config.paths.state.clone(),
        nodes,
        addresses,
        entry: config.serve.socket.with_file_name(network::ENTRY),
        environment: PathBuf::from(network::ENVIRONMENT),
    }
}

/// Who connects this node's pods.
pub(super) fn who_connects(config: &Config) -> Connects {
    let (is_member, has_subnet) = (
        config.paths.kubeconfig.is_some(),
        !config.network.pod_cidr.is_empty(),
    );
    connects(config.network.whose, is_member, has_subnet)
}

/// Who connects the pods: as it is configured, and else the cluster's plugin on a node of a cluster.
fn connects(whose: PodNetwork, is_member: bool, has_subnet: bool) -> Connects {
    match (whose, is_member) {
        (PodNetwork::Cluster, _) | (PodNetwork::Auto, true) => Connects::Another,
        (PodNetwork::Own, true) if !has_subnet => Connects::OwnAsTheClusterSays,
        (PodNetwork::Own | PodNetwork::Auto, _) => Connects::Own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_s_plugin_connects_pods_unless_this_program_shall() {
        for (whose, is_member, has_subnet, want) in [
            (PodNetwork::Auto, false, false, Connects::Own),
            (PodNetwork::Auto, false, true, Connects::Own),
            (PodNetwork::Auto, true, false, Connects::Another),
            (PodNetwork::Auto, true, true, Connects::Another),
            (PodNetwork::Cluster, false, false, Connects::Another),
            (PodNetwork::Cluster, true, true, Connects::Another),
            (PodNetwork::Own, false, false, Connects::Own),
            (PodNetwork::Own, true, false, Connects::OwnAsTheClusterSays),
            (PodNetwork::Own, true, true, Connects::Own),
        ] {
            let case = format!("{whose:?}, member: {is_member}, with a subnet: {has_subnet}");
            assert_eq!(connects(whose, is_member, has_subnet), want, "{case}");
        }
    }
}
