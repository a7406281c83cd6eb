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
use crate::model::overlay::Peer;

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
    /// The overlay's settings.
    pub overlay: overlay::Settings,
    /// The file of peers.
    pub peers: PathBuf,
    /// The node's addresses, the primary first.
    pub addresses: watch::Receiver<Arc<[IpAddr]>>,
    /// Where this node's own entry is written, for people.
    pub entry: PathBuf,
    /// Where programs read which network it is, as flannel's daemon writes it (`/run/flannel/subnet.env`).
    pub environment: PathBuf,
}

/// Keeps the pods of this node connected with those of others until canceled. `flushed` says that another program may have
/// removed the rules. `ready` has the node's subnet once packets
/// can leave for other nodes.
pub(super) async fn run(
    between: Between,
    network: NetworkSettings,
    (subnet, flushed): (watch::Receiver<Option<IpNet>>, &Notify),
    ready: watch::Sender<Option<IpNet>>,
    cancel: CancellationToken,
) {
    let (peers, of_peers) = watch::channel::<Arc<[Peer]>>(Vec::new().into());
    let (standing, of_standing) = watch::channel(Standing::default());
    let inputs = overlay::Inputs {
        settings: between.overlay.clone(),
        subnet,
        addresses: between.addresses.clone(),
        peers: of_peers,
        out: standing,
    };
    tokio::join!(
        overlay::peers_file::run(between.peers.clone(), peers, cancel.clone()),
        overlay::run(inputs, cancel.clone()),
        masquerade(
            between.overlay.network,
            of_standing.clone(),
            flushed,
            cancel.clone()
        ),
        follow(between, network, of_standing, ready, cancel),
    );
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
    between: Between,
    mut network: NetworkSettings,
    mut standing: watch::Receiver<Standing>,
    ready: watch::Sender<Option<IpNet>>,
    cancel: CancellationToken,
) {
    let mut failures = LastLogged::default();
    loop {
        let now = standing.borrow_and_update().clone();
        if let (Some(own), Some(mtu)) = (&now.own, now.mtu) {
            let written = tell(&between, own, mtu).map_err(|error| error.to_string());
            let mut failed = written.err();
            if network.between != Some(mtu) {
                network.between = Some(mtu);
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
            if now.is_ready {
                ready.send_if_modified(|before| before.replace(own.subnet) != Some(own.subnet));
            }
        }
        // Either arm only waits.
        tokio::select! {
            () = cancel.cancelled() => return,
            Ok(()) = standing.changed() => {}
        }
    }
}

/// Writes the node's entry and the environment where they differ.
fn tell(between: &Between, own: &Peer, mtu: u32) -> io::Result<()> {
    write_if_different(&between.entry, &entry::text(own))?;
    write_if_different(
        &between.environment,
        &environment(between.overlay.network, own.subnet, mtu),
    )
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
