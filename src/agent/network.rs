//! Wires the network's loop.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::tasks::Tasks;
use super::values::Values;
use crate::config::overlay::Overlay;
use crate::config::{Config, PodNetwork};
use crate::network::{self, Between, Connects, Inputs, NetworkSettings};

/// Sets the pods' network up, now or as soon as its subnet is known, and looks after it.
pub(super) async fn connect(
    tasks: &mut Tasks,
    config: &Config,
    values: &Values,
    addresses: watch::Receiver<Arc<[IpAddr]>>,
) -> anyhow::Result<()> {
    let inputs = Inputs {
        connects: connects(
            config.network.whose,
            config.paths.kubeconfig.is_some(),
            config.network.pod_cidr.is_some(),
        ),
        guards_loopback: config.network.util_chains,
        settings: NetworkSettings {
            network: config.network.range,
            subnet: config.network.pod_cidr,
            conf_dir: config.network.cni_conf_dir.clone(),
            data_dir: PathBuf::from(network::DATA_DIR),
            state_dir: config.paths.state.clone(),
            between: None,
            taken: Vec::new(),
        },
        between: config
            .network
            .overlay
            .as_ref()
            .map(|overlay| between(config, overlay, addresses)),
        node: values.api_node.1.clone(),
        socket: config.serve.socket.clone(),
        subnet: values.subnet.0.clone(),
    };
    let begun = network::begin(inputs).await?;
    tasks.spawn("network", begun.run(tasks.cancel.clone()));
    Ok(())
}

fn between(config: &Config, overlay: &Overlay, addresses: watch::Receiver<Arc<[IpAddr]>>) -> Between {
    Between {
        overlay: network::overlay::Settings {
            name: config.node.name.clone(),
            network: config.network.range.into(),
            transport: overlay.transport,
            state_dir: config.paths.state.clone(),
        },
        peers: overlay.peers.clone(),
        addresses,
        entry: config.serve.socket.with_file_name(network::ENTRY),
        environment: PathBuf::from(network::ENVIRONMENT),
    }
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
