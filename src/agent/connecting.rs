//! Who connects the pods, and with which subnet.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Tasks, Values};
use crate::config::{Config, PodNetwork};
use crate::model::api::ApiNode;
use crate::network::{self, Network, NetworkSettings};

/// How soon a subnet that could not be set up is tried again: a route in its way may go.
const AGAIN: Duration = Duration::from_secs(30);

/// Sets the pods' network up, now or as soon as its subnet is known. What is told is the subnet, where it is ours.
pub(super) async fn connect(tasks: &mut Tasks, config: &Config, values: &Values) -> anyhow::Result<()> {
    // Before anything can listen to a pod, whoever connects it.
    if config.network.util_chains {
        network::loopback::stand().await;
        tasks.spawn("loopback", network::loopback::keep(tasks.cancel.clone()));
    } else {
        network::loopback::fall().await;
    }
    let settings = settings(config);
    let is_member = config.paths.kubeconfig.is_some();
    match (config.network.whose, is_member) {
        (PodNetwork::Cluster, _) | (PodNetwork::Auto, true) => {
            if network::give_way(&settings.conf_dir)? {
                tracing::info!(
                    "from now on the cluster's plugin connects pods: our configuration is taken away"
                );
            }
        }
        (PodNetwork::Own, true) if settings.subnet.is_none() => {
            let (node, subnet) = (values.api_node.1.clone(), values.subnet.0.clone());
            tasks.spawn("network", follow(settings, node, subnet, tasks.cancel.clone()));
            tasks.spawn("firewall", network::keep_open(tasks.cancel.clone()));
        }
        (PodNetwork::Own | PodNetwork::Auto, _) => {
            if let Some(ours) = set_up(&settings).await? {
                values.subnet.0.send_replace(Some(ours));
                tasks.spawn("firewall", network::keep_open(tasks.cancel.clone()));
            }
        }
    }
    Ok(())
}

fn settings(config: &Config) -> NetworkSettings {
    NetworkSettings {
        network: config.network.range,
        subnet: config.network.pod_cidr,
        conf_dir: config.network.cni_conf_dir.clone(),
        data_dir: PathBuf::from(network::DATA_DIR),
        state_dir: config.paths.state.clone(),
    }
}

/// Ours, or `None` where it is another one's.
async fn set_up(settings: &NetworkSettings) -> Result<Option<IpNet>, network::NetworkError> {
    match network::set_up(settings).await? {
        Network::Ours(subnet) => {
            tracing::info!(%subnet, "pods get addresses of this subnet");
            Ok(Some(subnet.into()))
        }
        Network::Foreign(path) => {
            tracing::info!(configuration = %path.display(), "pods are on the network that this file describes");
            Ok(None)
        }
    }
}

/// Sets the network up with the subnet that the cluster gives the node. Until then, and where it gives none, the node
/// is not ready, as with a plugin that is not installed.
async fn follow(
    mut settings: NetworkSettings,
    mut node: watch::Receiver<ApiNode>,
    out: watch::Sender<Option<IpNet>>,
    cancel: CancellationToken,
) {
    let mut told = None;
    loop {
        let given = given(&node.borrow_and_update());
        let mut failed = false;
        if let Some(subnet) = given.filter(|_| given != told) {
            // The cluster's range may be any.
            if !settings.network.contains(&subnet) {
                settings.network = subnet;
            }
            settings.subnet = Some(subnet);
            match set_up(&settings).await {
                Ok(ours) => {
                    told = given;
                    out.send_replace(ours);
                }
                Err(error) => {
                    failed = true;
                    tracing::warn!(%subnet, %error, "the subnet that the cluster gives this node cannot be used: tried again");
                }
            }
        }
        // Every arm may be cancelled: a watch keeps what was not taken.
        tokio::select! {
            () = cancel.cancelled() => return,
            Ok(()) = node.changed() => {}
            () = tokio::time::sleep(AGAIN), if failed => {}
        }
    }
}

/// `Node.spec.podCIDR`; of the two of a dual-stack cluster the IPv4 one.
fn given(node: &ApiNode) -> Option<Ipv4Net> {
    let ApiNode::Present(node) = node else {
        return None;
    };
    let spec = node.spec.as_ref()?;
    let mut all = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    all.find_map(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_ipv4_subnet_is_the_one() {
        let node = |spec: serde_json::Value| {
            let node = serde_json::json!({"metadata": {"name": "vm"}, "spec": spec});
            given(&ApiNode::Present(Arc::new(serde_json::from_value(node).unwrap())))
        };
        let want: Option<Ipv4Net> = Some("10.1.2.0/24".parse().unwrap());
        assert_eq!(
            node(serde_json::json!({"podCIDR": "10.1.2.0/24", "podCIDRs": ["10.1.2.0/24"]})),
            want
        );
        assert_eq!(
            node(serde_json::json!({"podCIDR": "fd00::/64", "podCIDRs": ["fd00::/64", "10.1.2.0/24"]})),
            want
        );
        assert_eq!(node(serde_json::json!({})), None);
        assert_eq!(given(&ApiNode::Absent), None);
    }
}
