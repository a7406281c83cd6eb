//! The network's loop: who connects the pods, and with which subnet.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::set_up::{self, Network, NetworkError, NetworkSettings};
use super::{Between, between, conflist, forwarding, loopback, overlay, subnet};
use crate::model::api::ApiNode;

/// How soon a subnet that could not be set up is retried: a conflicting route may go away.
const AGAIN: Duration = Duration::from_secs(30);

/// The MTU of pods behind an overlay until that of the link is known: the usual one without the headers.
const USUAL_MTU: u32 = 1450;

/// Who connects the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connects {
    /// This program, with the subnet of its settings or one that it chooses.
    Own,
    /// This program, with the subnet that the API server's Node has.
    OwnAsTheClusterSays,
    /// Another program: a plugin of the cluster.
    Another,
}

/// What the network is set up by.
#[derive(Debug)]
pub struct Inputs {
    /// Who connects the pods.
    pub connects: Connects,
    /// Whether the rule stands that guards the host's loopback (`makeIPTablesUtilChains`).
    pub guards_loopback: bool,
    /// Where everything is, and of which range the subnet is.
    pub settings: NetworkSettings,
    /// The node as the API server has it.
    pub node: watch::Receiver<ApiNode>,
    /// What connects this node's pods with those of others, if that is configured.
    pub between: Option<Between>,
    /// The agent's socket, beside which others read.
    pub socket: PathBuf,
    /// The subnet of the node's pods, once they can be connected with it, and where it is ours.
    pub subnet: watch::Sender<Option<IpNet>>,
}

/// What goes on after [`begin`].
#[derive(Debug)]
pub struct Loop {
    inputs: Inputs,
    /// Whether packets of our bridge are let through the host's firewall.
    opens_firewall: bool,
    /// The subnet that was chosen, where it is ours.
    chosen: Option<IpNet>,
}

/// Does what must stand before the first pod starts.
pub async fn begin(mut inputs: Inputs) -> Result<Loop, NetworkError> {
    // The guard is in place before any pod is connected, whatever connects it.
    match inputs.guards_loopback {
        true => loopback::stand().await,
        false => loopback::fall().await,
    }
    match &inputs.between {
        Some(between) => {
            let address = between.addresses.borrow().first().copied();
            let mtu = match address {
                Some(address) => overlay::pod_mtu(between.overlay.transport, address).await,
                None => None,
            };
            inputs.settings.between = Some(mtu.unwrap_or(USUAL_MTU));
            inputs.settings.taken = overlay::peers_file::subnets(&between.peers, &between.overlay.name).await;
        }
        None => {
            if let Err(error) = between::leave(&inputs.settings.state_dir, &inputs.socket).await {
                tracing::warn!(%error, "cannot remove what connected this node's pods with those of others");
            }
        }
    }
    let mut chosen = None;
    let opens_firewall = match inputs.connects {
        Connects::Another => {
            if set_up::give_way(&inputs.settings.conf_dir)? {
                tracing::info!(
                    "the cluster's network plugin connects pods from now on; removed gantry's CNI configuration"
                );
            }
            false
        }
        Connects::OwnAsTheClusterSays => true,
        Connects::Own => match set_up(&inputs.settings).await? {
            Some(ours) => {
                chosen = Some(ours);
                if inputs.between.is_none() {
                    inputs.subnet.send_replace(Some(ours));
                }
                true
            }
            None => false,
        },
    };
    Ok(Loop {
        inputs,
        opens_firewall,
        chosen,
    })
}

impl Loop {
    /// Looks after the network until cancelled. Its parts wait for the kernel and the API server, each for itself.
    pub async fn run(self, cancel: CancellationToken) {
        let flushed = Notify::new();
        let guard = async {
            if self.inputs.guards_loopback {
                let (is_ours, flushed) = (self.opens_firewall, &flushed);
                let restore = || async move {
                    flushed.notify_one();
                    if is_ours {
                        restore_pods().await;
                    }
                };
                loopback::keep(restore, cancel.clone()).await;
            }
        };
        let firewall = async {
            if self.opens_firewall {
                forwarding::keep_open(cancel.clone()).await;
            }
        };
        let follow = async {
            if self.inputs.connects == Connects::OwnAsTheClusterSays {
                let (settings, node) = (self.inputs.settings.clone(), self.inputs.node.clone());
                follow(settings, node, self.inputs.subnet.clone(), cancel.clone()).await;
            }
        };
        let between = async {
            if let (Some(between), Some(_)) = (&self.inputs.between, self.chosen) {
                let (_, chosen) = watch::channel(self.chosen);
                let (settings, ready) = (self.inputs.settings.clone(), self.inputs.subnet.clone());
                let changes = (chosen, &flushed);
                between::run(between.clone(), settings, changes, ready, cancel.clone()).await;
            }
        };
        // The last arm: a network of which nothing is left to do lasts as long as the agent.
        tokio::join!(guard, firewall, follow, between, cancel.cancelled());
    }
}

/// Makes the rules of connected pods again: forwarded ports and masquerading.
async fn restore_pods() {
    let records = Path::new(gantry_cni::restore::RECORDS);
    let restored = tokio::task::spawn_blocking(|| gantry_cni::restore(records, conflist::NETWORK)).await;
    match restored.expect("talking to the kernel does not panic") {
        Ok(failures) => {
            for (record, error) in failures {
                tracing::warn!(record = %record.display(), %error, "cannot restore the firewall rules of a pod");
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "cannot restore the firewall rules of pods"),
    }
}

/// The settings of gantry's own network; `None` if another network is used.
async fn set_up(settings: &NetworkSettings) -> Result<Option<IpNet>, NetworkError> {
    match set_up::set_up(settings).await? {
        Network::Ours(subnet) => {
            tracing::info!(%subnet, "pods get addresses from this subnet");
            Ok(Some(subnet.into()))
        }
        Network::Foreign(path) => {
            tracing::info!(configuration = %path.display(), "pods use the network of this CNI configuration");
            Ok(None)
        }
    }
}

/// Sets up the network with the subnet that the cluster assigns to the node. Until then, and if it assigns none, the
/// node is not ready, as without an installed plugin.
async fn follow(
    mut settings: NetworkSettings,
    mut node: watch::Receiver<ApiNode>,
    out: watch::Sender<Option<IpNet>>,
    cancel: CancellationToken,
) {
    let mut last_given = None;
    loop {
        let given: Option<Ipv4Net> = subnet::given(&node.borrow_and_update());
        let mut failed = false;
        if let Some(asked) = given.filter(|_| given != last_given) {
            // The cluster's range is not restricted.
            if !settings.network.contains(&asked) {
                settings.network = asked;
            }
            settings.subnet = Some(asked);
            match set_up(&settings).await {
                Ok(ours) => {
                    last_given = given;
                    out.send_replace(ours);
                }
                Err(error) => {
                    failed = true;
                    tracing::warn!(subnet = %asked, %error, "cannot use the subnet that the cluster assigned to \
                     this node; retrying");
                }
            }
        }
        // Every arm is cancel-safe: a watch keeps what was not taken.
        tokio::select! {
            () = cancel.cancelled() => return,
            Ok(()) = node.changed() => {}
            () = tokio::time::sleep(AGAIN), if failed => {}
        }
    }
}
