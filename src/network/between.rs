//! What this node needs besides the overlay itself to be one of several: masquerading that spares the other nodes' pods, a
//! bridge whose MTU leaves room for the headers, and what it tells others about itself.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::conflist;
use super::overlay::{self, Standing, entry};
use super::set_up::{self, NetworkSettings};
use crate::disk::write::{self, Writing, remove_if_there};
use crate::model::last_logged::LastLogged;
use crate::model::overlay::{ClusterNetwork, Peer, Peers, Transport};
use crate::model::pod_network::{NetworkStanding, PodNetwork};

/// The name of the file, beside the agent's socket, with this node's own entry.
pub const ENTRY: &str = "peer.yaml";
/// Where flannel's daemon writes which network it is.
pub const ENVIRONMENT: &str = "/run/flannel/subnet.env";
/// How often the rules are checked without a reason: a flush of the whole firewall is noticed by the guard of the host's
/// loopback (`loopback`), unless that is disabled.
const LOOK: Duration = Duration::from_secs(60);

/// A network of several nodes.
#[derive(Debug, Clone)]
pub struct Between {
    /// This node's name.
    pub name: String,
    /// The network of all pods, unless the cluster says another one.
    pub network: IpNet,
    /// How packets travel, if that is configured.
    pub transport: Option<Transport>,
    /// Where the address of the tunnel endpoint is kept.
    pub state_dir: PathBuf,
    /// Which nodes there are.
    pub nodes: Nodes,
    /// The node's addresses, the primary first.
    pub addresses: watch::Receiver<Arc<[IpAddr]>>,
    /// Where this node's own entry is written, for people.
    pub entry: PathBuf,
    /// Where programs read which network it is, as flannel's daemon writes it (`/run/flannel/subnet.env`).
    pub environment: PathBuf,
}

/// From where it is known which nodes there are.
#[derive(Debug, Clone)]
pub enum Nodes {
    /// From a file.
    File(PathBuf),
    /// From a cluster.
    Cluster {
        /// Its nodes.
        peers: watch::Receiver<Peers>,
        /// What it says of the network.
        network: watch::Receiver<ClusterNetwork>,
    },
}

/// Keeps the pods of this node connected with those of others until canceled. `flushed` says that another program may have
/// removed the rules. `out` has the node's subnet once packets can leave for other nodes.
pub(super) async fn run(
    between: Between,
    network: NetworkSettings,
    (subnet, flushed): (watch::Receiver<Option<IpNet>>, &Notify),
    out: &watch::Sender<PodNetwork>,
    cancel: CancellationToken,
) {
    let (from_file, of_file) = watch::channel(Peers::Unknown);
    let (file, peers) = match &between.nodes {
        Nodes::File(path) => (Some(path.clone()), of_file),
        Nodes::Cluster { peers, .. } => (None, peers.clone()),
    };
    let settings = tokio::select! {
        () = cancel.cancelled() => return,
        settings = settings(&between, out) => settings,
    };
    let (standing, of_standing) = watch::channel(Standing::default());
    let inputs = overlay::Inputs {
        settings: settings.clone(),
        subnet,
        addresses: between.addresses.clone(),
        peers,
        out: standing,
    };
    let read_file = async {
        if let Some(file) = file {
            overlay::peers_file::run(file, from_file, cancel.clone()).await;
        }
    };
    tokio::join!(
        read_file,
        notice_changes(&between, &settings, cancel.clone()),
        overlay::run(inputs, cancel.clone()),
        masquerade(settings.network, of_standing.clone(), flushed, cancel.clone()),
        follow(
            (&between, settings.network),
            network,
            of_standing,
            out,
            cancel.clone()
        ),
    );
}

/// The overlay's settings, once they are known. Cancel-safe.
async fn settings(between: &Between, out: &watch::Sender<PodNetwork>) -> overlay::Settings {
    let (Nodes::Cluster { network, .. }, None) = (&between.nodes, between.transport) else {
        return stated(between, &ClusterNetwork::Unstated);
    };
    let mut network = network.clone();
    loop {
        match network.borrow_and_update().clone() {
            said @ (ClusterNetwork::Unstated | ClusterNetwork::Stated { .. }) => {
                return stated(between, &said);
            }
            ClusterNetwork::Unknown => {}
            ClusterNetwork::Unreadable(why) => down(out, why),
        }
        if network.changed().await.is_err() {
            // The sender is gone: the agent stops.
            std::future::pending::<()>().await;
        }
    }
}

fn stated(between: &Between, said: &ClusterNetwork) -> overlay::Settings {
    let (network, transport) = match said {
        ClusterNetwork::Stated { network, transport } => (network.map(IpNet::from), *transport),
        ClusterNetwork::Unknown | ClusterNetwork::Unreadable(_) | ClusterNetwork::Unstated => {
            (None, Transport::VXLAN)
        }
    };
    overlay::Settings {
        name: between.name.clone(),
        network: network.unwrap_or(between.network),
        transport: between.transport.unwrap_or(transport),
        state_dir: between.state_dir.clone(),
    }
}

/// Says when the cluster's network becomes another one: all nodes change at the same time then, when an administrator starts
/// them anew, as with flannel's daemon.
async fn notice_changes(between: &Between, settings: &overlay::Settings, cancel: CancellationToken) {
    let (Nodes::Cluster { network, .. }, None) = (&between.nodes, between.transport) else {
        return;
    };
    let (mut network, mut logged) = (network.clone(), LastLogged::default());
    loop {
        let now = network.borrow_and_update().clone();
        if let ClusterNetwork::Stated { .. } | ClusterNetwork::Unstated = &now {
            let now = stated(between, &now);
            let differs = (now.network, now.transport) != (settings.network, settings.transport);
            if differs && logged.is_news(&(now.network, now.transport)) {
                tracing::warn!(
                    network = %now.network,
                    transport = ?now.transport,
                    "the cluster's pod network is another one now; it is used when the agent is started again"
                );
            }
        }
        // Either arm only waits.
        tokio::select! {
            () = cancel.cancelled() => return,
            Ok(()) = network.changed() => {}
        }
    }
}

/// Says why pods do not have their network, unless it was up: what stands then goes on.
pub(super) fn down(out: &watch::Sender<PodNetwork>, why: String) {
    out.send_if_modified(|network| match &network.standing {
        NetworkStanding::Up => false,
        NetworkStanding::Down(former) if *former == why => false,
        NetworkStanding::Another | NetworkStanding::Undetermined | NetworkStanding::Down(_) => {
            network.standing = NetworkStanding::Down(why);
            true
        }
    });
}

/// Publishes how the overlay stands.
fn publish(out: &watch::Sender<PodNetwork>, now: &Standing, own: &Peer) {
    if let (false, Some(fault)) = (now.is_ready, &now.fault) {
        down(out, fault.clone());
    }
    out.send_if_modified(|network| {
        let before = network.clone();
        network.entry = Some(own.clone());
        if now.is_ready {
            network.subnet = Some(own.subnet);
            network.standing = NetworkStanding::Up;
        }
        *network != before
    });
}

/// Removes what connected this node's pods with those of others, and what it told about itself: the node is one of its own
/// from now on. `socket` is the agent's.
pub async fn leave(state_dir: &Path, socket: &Path) -> io::Result<()> {
    if !overlay::is_stored(state_dir) {
        return Ok(());
    }
    for file in [&socket.with_file_name(ENTRY), Path::new(ENVIRONMENT)] {
        remove_if_there(file)?;
    }
    if let Some(directory) = Path::new(ENVIRONMENT).parent() {
        // Files of others stay.
        let _ = std::fs::remove_dir(directory);
    }
    overlay::remove(state_dir).await
}

/// Follows how the overlay stands: with the configuration of the bridge, and with what others read.
async fn follow(
    (between, all): (&Between, IpNet),
    mut network: NetworkSettings,
    mut standing: watch::Receiver<Standing>,
    out: &watch::Sender<PodNetwork>,
    cancel: CancellationToken,
) {
    let mut failures = LastLogged::default();
    loop {
        let now = standing.borrow_and_update().clone();
        if let (Some(own), Some(mtu)) = (&now.own, now.mtu) {
            let written = tell((between, all), own, mtu).map_err(|error| error.to_string());
            let mut failed = written.err();
            if network.between != Some(mtu) {
                network.between = Some(mtu);
                network.keep(own.subnet);
                let set_up = set_up::set_up(&network).await.map_err(|error| error.to_string());
                failed = failed.or(set_up.err());
            }
            match failed {
                Some(error) if failures.is_news(&error) => {
                    tracing::warn!(error, "cannot write what follows from the overlay");
                }
                Some(_) => {}
                None => failures.clear(),
            }
        }
        if let Some(own) = &now.own {
            publish(out, &now, own);
        }
        // Either arm only waits.
        tokio::select! {
            () = cancel.cancelled() => return,
            Ok(()) = standing.changed() => {}
        }
    }
}

/// Writes the node's entry and the environment where they differ.
fn tell((between, all): (&Between, IpNet), own: &Peer, mtu: u32) -> io::Result<()> {
    write_if_different(&between.entry, &entry::text(own))?;
    write_if_different(&between.environment, &environment(all, own.subnet, mtu))
}

/// The form of flannel's `WriteSubnetFile`: the subnet stands with its first address, the gateway.
fn environment(network: IpNet, subnet: IpNet, mtu: u32) -> String {
    let prefix = match network {
        IpNet::V4(_) => "FLANNEL",
        IpNet::V6(_) => "FLANNEL_IPV6",
    };
    let first = subnet.hosts().next().unwrap_or_else(|| subnet.network());
    format!(
        "{prefix}_NETWORK={network}\n{prefix}_SUBNET={first}/{}\nFLANNEL_MTU={mtu}\nFLANNEL_IPMASQ=true\n",
        subnet.prefix_len()
    )
}

fn write_if_different(path: &Path, text: &str) -> io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    write::write(path, text.as_bytes(), Writing::within_umask())
}

/// Keeps the rules in place.
async fn masquerade(
    all: IpNet,
    mut standing: watch::Receiver<Standing>,
    flushed: &Notify,
    cancel: CancellationToken,
) {
    let mut failures = LastLogged::default();
    loop {
        let own = standing.borrow_and_update().own.as_ref().map(|own| own.subnet);
        if let Some(own) = own {
            let ensured = tokio::task::spawn_blocking(move || {
                gantry_cni::between_nodes::ensure(conflist::NETWORK, all, own)
            });
            match ensured.await.expect("talking to the kernel does not panic") {
                Ok(_) => failures.clear(),
                Err(error) => {
                    let error = error.to_string();
                    if failures.is_news(&error) {
                        tracing::warn!(error, "cannot set the rules of the pod network; retrying");
                    }
                }
            }
        }
        // Every arm only waits.
        tokio::select! {
            () = cancel.cancelled() => return,
            Ok(()) = standing.changed() => {}
            () = flushed.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_read_what_flannels_daemon_would_have_written() {
        assert_eq!(
            environment(
                "10.244.0.0/16".parse().unwrap(),
                "10.244.1.0/24".parse().unwrap(),
                1450
            ),
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
        );
    }
}
