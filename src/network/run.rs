//! The network's loop: who connects the pods, and with which subnet.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::published::{Part, Published};
use super::set_up::{self, Network, NetworkError, NetworkSettings};
use super::{Between, Nodes, between, bridge, conflist, forwarding, loopback, overlay, subnet};
use crate::model::api::ApiNode;
use crate::model::overlay::Transport;
use crate::model::pod_network::{NetworkStanding, PodNetwork};

/// How soon a subnet that could not be set up is retried: a conflicting route may go away.
const AGAIN: Duration = Duration::from_secs(30);

/// The MTU of pods behind an overlay until that of the link is known: the usual one without the headers.
const USUAL_MTU: u32 = 1450;

/// What a node without a subnet waits for.
const UNASSIGNED: &str = "the cluster has assigned no pod CIDR to this node (spec.podCIDR); start kube-controller-manager \
                          with --allocate-node-cidrs and --cluster-cidr";

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
    /// What becomes of it.
    pub out: watch::Sender<PodNetwork>,
}

/// What goes on after [`begin`].
#[derive(Debug)]
pub struct Loop {
    inputs: Inputs,
    published: Published,
    /// Whether packets of our bridge are let through the host's firewall.
    opens_firewall: bool,
    /// The subnets that were chosen, where they are ours.
    chosen: Vec<IpNet>,
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
            inputs.settings.between = Some(first_mtu(between, &inputs.settings.conf_dir).await);
            if let Nodes::File(file) = &between.nodes {
                inputs.settings.taken = overlay::peers_file::subnets(file, &between.name).await;
            }
        }
        None => {
            if let Err(error) = between::leave(&inputs.settings.state_dir, &inputs.socket).await {
                tracing::warn!(%error, "cannot remove what connected this node's pods with those of others");
            }
        }
    }
    let published = Published::new(inputs.out.clone(), first_standing(&inputs));
    let mut chosen = Vec::new();
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
                if inputs.between.is_none() {
                    published.up(&ours);
                }
                chosen = ours;
                true
            }
            None => {
                published.of_another();
                false
            }
        },
    };
    Ok(Loop {
        inputs,
        published,
        opens_firewall,
        chosen,
    })
}

impl Loop {
    /// Looks after the network until cancelled. Its parts wait for the kernel and the API server, each for itself.
    pub async fn run(self, cancel: CancellationToken) {
        let flushed = Notify::new();
        let (given, of_given) = watch::channel(self.chosen.clone());
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
        let bridge = async {
            if self.opens_firewall {
                bridge::keep(of_given.clone(), restore_bridge, cancel.clone()).await;
            }
        };
        let follow = async {
            if self.inputs.connects == Connects::OwnAsTheClusterSays {
                let (settings, node) = (self.inputs.settings.clone(), self.inputs.node.clone());
                follow(settings, node, &self.published, &given, cancel.clone()).await;
            }
        };
        let between = async {
            let is_ours = !self.chosen.is_empty() || self.inputs.connects == Connects::OwnAsTheClusterSays;
            if let (Some(between), true) = (&self.inputs.between, is_ours) {
                let settings = self.inputs.settings.clone();
                let changes = (of_given.clone(), &flushed);
                between::run(
                    between.clone(),
                    settings,
                    changes,
                    &self.published,
                    cancel.clone(),
                )
                .await;
            }
        };
        // The last arm: a network of which nothing is left to do lasts as long as the agent.
        tokio::join!(guard, firewall, bridge, follow, between, cancel.cancelled());
    }
}

/// What is so before anything was set up.
fn first_standing(inputs: &Inputs) -> NetworkStanding {
    match (inputs.connects, &inputs.between) {
        // Nothing is said before it is known whose network it is.
        (Connects::Another, _) | (_, None) => NetworkStanding::Another,
        (_, Some(between)) if overlay::is_stored(&between.state_dir) => NetworkStanding::Undetermined,
        (_, Some(_)) => NetworkStanding::Down("gantry has not set up the pod network yet".to_owned()),
    }
}

/// The MTU of pods before the overlay has found the link: the configured transport's, else the one that was in force.
async fn first_mtu(between: &Between, conf_dir: &Path) -> u32 {
    let transport = match &between.nodes {
        Nodes::File(_) => Some(between.transport.unwrap_or(Transport::VXLAN)),
        Nodes::Cluster { .. } => between.transport,
    };
    let Some(transport) = transport else {
        return conflist::mtu(conf_dir).unwrap_or(USUAL_MTU);
    };
    let addresses = between.addresses.borrow().clone();
    let mut least = None;
    for network in &between.networks {
        let of_family = |address: &&IpAddr| address.is_ipv4() == network.addr().is_ipv4();
        if let Some(address) = addresses.iter().find(of_family) {
            let mtu = overlay::pod_mtu(transport, *address).await;
            least = [least, mtu].into_iter().flatten().min();
        }
    }
    least.unwrap_or(USUAL_MTU)
}

/// Makes the bridge again, and connects the pods to it.
async fn restore_bridge() {
    match has_pods().await {
        Ok(true) => {}
        // The first pod makes the bridge.
        Ok(false) => return,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::warn!(%error, "cannot tell whether pods have lost their bridge");
            return;
        }
    }
    tracing::warn!(
        bridge = conflist::BRIDGE,
        "another program has taken the pods' bridge, or its address; connecting the pods again"
    );
    restore_pods().await;
}

/// Whether pods of this node's own network are connected.
async fn has_pods() -> io::Result<bool> {
    let records = Path::new(gantry_cni::restore::RECORDS);
    let asking = || gantry_cni::restore::has_pods(records, conflist::NETWORK, conflist::BRIDGE);
    let asked = tokio::task::spawn_blocking(asking).await;
    asked.expect("talking to the kernel does not panic")
}

/// Makes what connects pods again: the bridge and its ports, forwarded ports and masquerading.
async fn restore_pods() {
    let records = Path::new(gantry_cni::restore::RECORDS);
    let restored = tokio::task::spawn_blocking(|| gantry_cni::restore(records, conflist::NETWORK)).await;
    match restored.expect("talking to the kernel does not panic") {
        Ok(failures) => {
            for (record, error) in failures {
                tracing::warn!(record = %record.display(), %error, "cannot connect a pod again");
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "cannot connect the pods again"),
    }
}

/// The settings of gantry's own network; `None` if another network is used.
async fn set_up(settings: &NetworkSettings) -> Result<Option<Vec<IpNet>>, NetworkError> {
    match set_up::set_up(settings).await? {
        Network::Ours(subnets) => {
            for subnet in &subnets {
                tracing::info!(%subnet, "pods get addresses from this subnet");
            }
            Ok(Some(subnets))
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
    out: &Published,
    set: &watch::Sender<Vec<IpNet>>,
    cancel: CancellationToken,
) {
    let configured = settings.networks.clone();
    let mut last_given = Vec::new();
    loop {
        let given = subnet::given(&node.borrow_and_update());
        if given.is_empty() && matches!(*node.borrow(), ApiNode::Present(_)) {
            out.fault(Part::Subnets, Some(UNASSIGNED.to_owned()));
        }
        let mut failed = false;
        if !given.is_empty() && given != last_given {
            settings.networks.clone_from(&configured);
            settings.keep(&given);
            match set_up(&settings).await {
                Ok(ours) => {
                    out.fault(Part::Subnets, None);
                    last_given = given;
                    if ours.is_none() {
                        out.of_another();
                    }
                    set.send_replace(ours.unwrap_or_default());
                }
                Err(error) => {
                    failed = true;
                    out.fault(Part::Subnets, Some(error.to_string()));
                    tracing::warn!(subnets = ?given, %error, "cannot use the subnet that the cluster assigned to \
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
