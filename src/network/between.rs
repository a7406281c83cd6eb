//! What this node needs besides the overlay itself to be one of several: masquerading that spares the other nodes' pods, a
//! bridge whose MTU leaves room for the headers, and what it tells others about itself.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, select_all};
use ipnet::IpNet;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::conflist;
use super::overlay::{self, Standing, entry};
use super::published::{Part, Published};
use super::set_up::{self, NetworkSettings};
use crate::disk::write::{self, Writing, remove_if_there};
use crate::model::last_logged::LastLogged;
use crate::model::overlay::{ClusterNetwork, Peer, Peers, Transport};
use crate::model::pod_network::{is_same_family, of_family};

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
    /// The network of all pods in each IP family, unless the cluster says another one.
    pub networks: Vec<IpNet>,
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
    (subnets, flushed): (watch::Receiver<Vec<IpNet>>, &Notify),
    out: &Published,
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
    let read_file = async {
        if let Some(file) = file {
            overlay::peers_file::run(file, from_file, cancel.clone()).await;
        }
    };
    let (mut overlays, mut standings) = (Vec::new(), Vec::new());
    for settings in settings.clone() {
        let (standing, of_standing) = watch::channel(Standing::default());
        let all = settings.network;
        let inputs = overlay::Inputs {
            settings,
            subnets: subnets.clone(),
            addresses: between.addresses.clone(),
            peers: peers.clone(),
            out: standing,
        };
        overlays.push(overlay::run(inputs, cancel.clone()));
        standings.push((all, of_standing));
    }
    tokio::join!(
        read_file,
        notice_changes(&between, &settings, cancel.clone()),
        join_all(overlays),
        masquerade(standings.clone(), flushed, cancel.clone()),
        follow(
            &between,
            network,
            (subnets.clone(), standings),
            out,
            cancel.clone()
        ),
    );
}

/// The overlay's settings in each IP family, once they are known. Cancel-safe.
async fn settings(between: &Between, out: &Published) -> Vec<overlay::Settings> {
    let (Nodes::Cluster { network, .. }, None) = (&between.nodes, between.transport) else {
        return stated(between, &ClusterNetwork::Unstated);
    };
    let mut network = network.clone();
    loop {
        match network.borrow_and_update().clone() {
            said @ (ClusterNetwork::Unstated | ClusterNetwork::Stated { .. }) => {
                out.fault(Part::Settings, None);
                return stated(between, &said);
            }
            ClusterNetwork::Unknown => {}
            ClusterNetwork::Unreadable(why) => out.fault(Part::Settings, Some(why)),
        }
        if network.changed().await.is_err() {
            // The sender is gone: the agent stops.
            std::future::pending::<()>().await;
        }
    }
}

fn stated(between: &Between, said: &ClusterNetwork) -> Vec<overlay::Settings> {
    let (networks, transport) = match said {
        ClusterNetwork::Stated { networks, transport } if networks.is_empty() => {
            (&between.networks, *transport)
        }
        ClusterNetwork::Stated { networks, transport } => (networks, *transport),
        ClusterNetwork::Unknown | ClusterNetwork::Unreadable(_) | ClusterNetwork::Unstated => {
            (&between.networks, Transport::VXLAN)
        }
    };
    let settings = |network: &IpNet| overlay::Settings {
        name: between.name.clone(),
        network: *network,
        transport: between.transport.unwrap_or(transport),
        state_dir: between.state_dir.clone(),
    };
    networks.iter().map(settings).collect()
}

/// Says when the cluster's network becomes another one: all nodes change at the same time then, when an administrator starts
/// them anew, as with flannel's daemon.
async fn notice_changes(between: &Between, settings: &[overlay::Settings], cancel: CancellationToken) {
    let (Nodes::Cluster { network, .. }, None) = (&between.nodes, between.transport) else {
        return;
    };
    let (mut network, mut logged) = (network.clone(), LastLogged::default());
    loop {
        let now = network.borrow_and_update().clone();
        if let ClusterNetwork::Stated { .. } | ClusterNetwork::Unstated = &now {
            let now = stated(between, &now);
            if now != settings && logged.is_news(&now) {
                tracing::warn!(
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

/// Publishes how the overlay stands in all IP families of the node's subnets.
fn publish(out: &Published, subnets: &[IpNet], standings: &[Standing]) {
    let entries: Vec<Peer> = standings.iter().filter_map(|now| now.own.clone()).collect();
    let mut fault = standings.iter().find_map(|now| now.fault.clone());
    let mut is_ready = !subnets.is_empty();
    for subnet in subnets {
        let of_family = |now: &&Standing| {
            let own = now.own.as_ref();
            own.is_some_and(|own| is_same_family(own.subnet, *subnet))
        };
        match standings.iter().find(of_family) {
            Some(now) => is_ready &= now.is_ready,
            None => {
                is_ready = false;
                let unknown = || {
                    format!(
                        "the node has the pod subnet {subnet}, but no address of its own or no pod network in that IP family; \
                         set --network-cidr to the networks of all nodes, and give the node an address"
                    )
                };
                fault.get_or_insert_with(unknown);
            }
        }
    }
    out.entries(entries);
    out.fault(Part::Overlay, fault.filter(|_| !is_ready));
    if is_ready {
        out.up(subnets);
    }
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

/// A family's network of all pods, and how the overlay stands in it.
type OfFamily = (IpNet, watch::Receiver<Standing>);

/// Waits for a change of any. Cancel-safe: a watch keeps what was not taken.
async fn changed(standings: &mut [OfFamily]) {
    let all = standings
        .iter_mut()
        .map(|(_, standing)| Box::pin(standing.changed()));
    if select_all(all).await.0.is_err() {
        // The overlay has ended: the agent stops.
        std::future::pending::<()>().await;
    }
}

/// Follows how the overlay stands: with the configuration of the bridge, and with what others read.
async fn follow(
    between: &Between,
    mut network: NetworkSettings,
    (mut subnets, mut standings): (watch::Receiver<Vec<IpNet>>, Vec<OfFamily>),
    out: &Published,
    cancel: CancellationToken,
) {
    let mut failures = LastLogged::default();
    loop {
        let of_node = subnets.borrow_and_update().clone();
        let now: Vec<(IpNet, Standing)> = standings
            .iter_mut()
            .map(|(all, standing)| (*all, standing.borrow_and_update().clone()))
            .collect();
        let is_known =
            |(all, now): &(IpNet, Standing)| now.own.is_some() || of_family(&of_node, *all).is_none();
        let mtu = now.iter().filter_map(|(_, now)| now.mtu).min();
        // Pods have one MTU, and others read all at once.
        if let (Some(mtu), true) = (mtu, now.iter().all(is_known)) {
            let written = tell(between, &now, mtu).map_err(|error| error.to_string());
            let mut failed = written.err();
            if network.between != Some(mtu) {
                network.between = Some(mtu);
                network.keep(&of_node);
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
        let standing: Vec<Standing> = now.into_iter().map(|(_, now)| now).collect();
        if !of_node.is_empty() {
            publish(out, &of_node, &standing);
        }
        // Every arm only waits.
        tokio::select! {
            () = cancel.cancelled() => return,
            Ok(()) = subnets.changed() => {}
            () = changed(&mut standings) => {}
        }
    }
}

/// Writes the node's entries and the environment where they differ.
fn tell(between: &Between, standings: &[(IpNet, Standing)], mtu: u32) -> io::Result<()> {
    let own = || {
        standings
            .iter()
            .filter_map(|(all, now)| Some((*all, now.own.as_ref()?)))
    };
    let entries: String = own().map(|(_, own)| entry::text(own)).collect();
    let subnets: Vec<(IpNet, IpNet)> = own().map(|(all, own)| (all, own.subnet)).collect();
    write_if_different(&between.entry, &entries)?;
    write_if_different(&between.environment, &environment(&subnets, mtu))
}

/// The form of flannel's `WriteSubnetFile`: the subnets, each with the network that it is of, stand with their first
/// addresses, the gateways.
fn environment(subnets: &[(IpNet, IpNet)], mtu: u32) -> String {
    let mut text = String::new();
    for (network, subnet) in subnets {
        let prefix = match network {
            IpNet::V4(_) => "FLANNEL",
            IpNet::V6(_) => "FLANNEL_IPV6",
        };
        // An IPv6 subnet's own address counts as a host's there.
        let gateway = usize::from(subnet.addr().is_ipv6());
        let first = subnet.hosts().nth(gateway).unwrap_or_else(|| subnet.network());
        let length = subnet.prefix_len();
        text += &format!("{prefix}_NETWORK={network}\n{prefix}_SUBNET={first}/{length}\n");
    }
    text + &format!("FLANNEL_MTU={mtu}\nFLANNEL_IPMASQ=true\n")
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
async fn masquerade(mut standings: Vec<OfFamily>, flushed: &Notify, cancel: CancellationToken) {
    let mut failures = LastLogged::default();
    loop {
        let mut failed = None;
        for (all, standing) in &mut standings {
            let own = standing.borrow_and_update().own.as_ref().map(|own| own.subnet);
            let Some(own) = own else { continue };
            let all = *all;
            let ensured = tokio::task::spawn_blocking(move || {
                gantry_cni::between_nodes::ensure(conflist::NETWORK, all, own)
            });
            let ensured = ensured.await.expect("talking to the kernel does not panic");
            failed = failed.or(ensured.err().map(|error| error.to_string()));
        }
        match failed {
            Some(error) if failures.is_news(&error) => {
                tracing::warn!(error, "cannot set the rules of the pod network; retrying");
            }
            Some(_) => {}
            None => failures.clear(),
        }
        // Every arm only waits.
        tokio::select! {
            () = cancel.cancelled() => return,
            () = changed(&mut standings) => {}
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
        let v4 = ("10.244.0.0/16".parse().unwrap(), "10.244.1.0/24".parse().unwrap());
        let v6 = (
            "fd00:10:244::/48".parse().unwrap(),
            "fd00:10:244:1::/64".parse().unwrap(),
        );
        assert_eq!(
            environment(&[v4], 1450),
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
        );
        assert_eq!(
            environment(&[v4, v6], 1430),
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_IPV6_NETWORK=fd00:10:244::/48\n\
             FLANNEL_IPV6_SUBNET=fd00:10:244:1::1/64\nFLANNEL_MTU=1430\nFLANNEL_IPMASQ=true\n"
        );
    }
}
