//! The overlay's loop: from the peers and the kernel's state to the kernel.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::change::Settled;
use super::endpoint;
use super::kernel::{Kernel, News};
use super::operation::Operation;
use super::own::{Own, Way, pod_mtu as mtu_by};
use super::plan::{Plan, plan};
use super::wire::Wire;
use crate::model::last_logged::LastLogged;
use crate::model::overlay::{Backend, Mac, Peer, Peers, Transport};
use crate::model::pod_network::of_family;

/// How often everything is listed without an announcement: one may be lost.
const LOOK: Duration = Duration::from_secs(60);
/// The pause after an announcement: a program that keeps removing what the overlay needs must not cost a whole processor.
const REST: Duration = Duration::from_millis(10);
/// How soon an operation that failed is tried again without an announcement.
const AGAIN: Duration = Duration::from_secs(5);
/// How often it is planned anew in a row.
const ROUNDS: usize = 4;
/// The pause before listening again, after the kernel had to drop announcements.
const RELISTEN: Duration = Duration::from_secs(1);

/// The overlay's settings, in one IP family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// This node's name.
    pub name: String,
    /// The network of all pods.
    pub network: IpNet,
    /// How packets travel.
    pub transport: Transport,
    /// Where the address of the tunnel endpoint is kept.
    pub state_dir: PathBuf,
}

/// What the overlay follows, and what it publishes.
#[derive(Debug)]
pub struct Inputs {
    /// The settings.
    pub settings: Settings,
    /// The subnets of this node's pods, once they are known: that of the network's IP family counts.
    pub subnets: watch::Receiver<Vec<IpNet>>,
    /// The node's addresses, the primary first.
    pub addresses: watch::Receiver<Arc<[IpAddr]>>,
    /// The other nodes; this one may be among them.
    pub peers: watch::Receiver<Peers>,
    /// This node as the others need it.
    pub out: watch::Sender<Standing>,
}

/// How the overlay stands on this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// This node's own entry among the peers.
    pub own: Option<Peer>,
    /// The MTU of pods, in bytes.
    pub mtu: Option<u32>,
    /// Whether packets reach the peers.
    pub is_ready: bool,
    /// Why they do not.
    pub fault: Option<String>,
}

/// The MTU of this node's pods, by the link that has this address; absent if none has it.
pub async fn pod_mtu(transport: Transport, address: IpAddr) -> Option<u32> {
    let kernel = Wire::open().ok()?.list().await.ok()?;
    let (_, link, _) = kernel.link_of(address)?;
    Some(mtu_by(way(transport), address, link.mtu))
}

/// Keeps the kernel's state up to date until canceled. What it has made stays, so that the pods keep their connections
/// while no agent runs.
pub async fn run(mut inputs: Inputs, cancel: CancellationToken) {
    let mut logged = Logged::default();
    let mac = endpoint::address(&inputs.settings.state_dir, inputs.settings.transport).await;
    loop {
        // Ending in the middle of the operations is one case with a killed agent: the next one goes on.
        tokio::select! {
            () = cancel.cancelled() => return,
            ended = follow(&mut inputs, mac, &mut logged) => {
                if let Err(error) = ended && logged.wire.is_news(&error) {
                    tracing::warn!(error, "cannot follow the kernel's links and routes; trying again");
                }
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(RELISTEN) => {}
        }
    }
}

#[derive(Default)]
struct Logged {
    wire: LastLogged<String>,
    problems: LastLogged<Vec<String>>,
    failure: LastLogged<String>,
    ready: LastLogged<Standing>,
}

impl Logged {
    fn problems(&mut self, problems: &Vec<String>) {
        if self.problems.is_news(problems) {
            for problem in problems {
                tracing::warn!(problem, "a node cannot be reached over the pod network");
            }
        }
    }

    fn ready(&mut self, standing: &Standing, own: &Own, peers: usize) {
        if standing.is_ready && self.ready.is_news(standing) {
            tracing::info!(
                subnet = %own.subnet,
                address = %own.address,
                backend = standing.own.as_ref().map(|own| own.backend.name()),
                peers,
                "the pod network reaches other nodes"
            );
        }
    }
}

/// Follows until announcements were lost.
async fn follow(inputs: &mut Inputs, mac: Mac, logged: &mut Logged) -> Result<(), String> {
    let mut wire = Wire::open().map_err(|error| error.to_string())?;
    loop {
        let mut kernel = wire.list().await.map_err(|error| error.to_string())?;
        logged.wire.clear();
        let listed = tokio::time::Instant::now();
        let (mut settled, mut changed) = (None, Changed::More);
        while listed.elapsed() < LOOK && changed != Changed::Unsaid {
            if changed != Changed::Peers {
                settled = None;
            }
            let again = settle(inputs, mac, (&wire, &mut kernel), &mut settled, logged).await;
            let until = (listed + LOOK).min(tokio::time::Instant::now() + again.unwrap_or(LOOK));
            match wait(inputs, &mut wire, &mut kernel, until).await {
                Some(now) => changed = now,
                None => return Ok(()),
            }
        }
    }
}

/// Why the plan may be another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changed {
    /// The peers alone have changed.
    Peers,
    /// More has changed, or may have.
    More,
    /// What the kernel does not announce, too: everything has to be listed.
    Unsaid,
}

/// Waits until the plan may be another one, or for the moment. `None`: announcements were lost.
async fn wait(
    inputs: &mut Inputs,
    wire: &mut Wire,
    kernel: &mut Kernel,
    until: tokio::time::Instant,
) -> Option<Changed> {
    loop {
        // Every arm is cancel-safe: a watch keeps what was not taken, an announcement stays in its channel.
        tokio::select! {
            Ok(()) = inputs.peers.changed() => return Some(Changed::Peers),
            Ok(()) = inputs.subnets.changed() => return Some(Changed::More),
            Ok(()) = inputs.addresses.changed() => return Some(Changed::More),
            () = tokio::time::sleep_until(until) => return Some(Changed::More),
            announced = wire.next() => {
                let mut news = kernel.take(&announced?);
                if news != News::Nothing {
                    tokio::time::sleep(REST).await;
                }
                while let Some(message) = wire.waiting() {
                    news = news.max(kernel.take(&message));
                }
                match news {
                    News::Nothing => {}
                    News::Change => return Some(Changed::More),
                    News::Unsaid => return Some(Changed::Unsaid),
                }
            }
        }
    }
}

/// Plans and carries out until nothing is left to do. Present if something failed: when to try again.
async fn settle(
    inputs: &mut Inputs,
    mac: Mac,
    (wire, kernel): (&Wire, &mut Kernel),
    settled: &mut Option<Settled>,
    logged: &mut Logged,
) -> Option<Duration> {
    let peers = others(inputs);
    let Some(own) = own(inputs, mac) else {
        inputs
            .out
            .send_if_modified(|standing| become_(standing, Standing::default()));
        return None;
    };
    let peers = match peers {
        Ok(peers) => peers,
        // What an earlier agent has made stays. Others may know of this node already.
        Err(fault) => {
            let standing = Standing {
                fault,
                ..standing(&inputs.settings.name, &own, kernel)
            };
            inputs.out.send_if_modified(|before| become_(before, standing));
            return None;
        }
    };
    let (problems, is_ready, failure) = reach(&own, &peers, (wire, kernel), settled).await;
    logged.problems(&problems);
    let is_ready = is_ready && failure.is_none();
    let standing = Standing {
        is_ready,
        fault: failure
            .clone()
            .or(problems.first().cloned())
            .filter(|_| !is_ready),
        ..standing(&inputs.settings.name, &own, kernel)
    };
    logged.ready(&standing, &own, peers.len());
    inputs.out.send_if_modified(|before| become_(before, standing));
    match failure {
        Some(error) => {
            if logged.failure.is_news(&error) {
                tracing::warn!(error, "cannot set up the way to other nodes' pods; retrying");
            }
            Some(AGAIN)
        }
        None => {
            logged.failure.clear();
            None
        }
    }
}

/// Does what these peers ask for: what is wrong with some of them, whether packets can leave for the others, and the first
/// failure.
async fn reach(
    own: &Own,
    peers: &Arc<[Arc<Peer>]>,
    (wire, kernel): (&Wire, &mut Kernel),
    settled: &mut Option<Settled>,
) -> (Vec<String>, bool, Option<String>) {
    let change = settled
        .take()
        .and_then(|settled| settled.change(own, peers, kernel));
    if let Some((now, operations)) = change {
        let failure = do_all(&operations, wire, kernel).await;
        *settled = Some(now).filter(|_| failure.is_none());
        return (Vec::new(), true, failure);
    }
    let (plan, failure) = carry_out(own, peers, wire, kernel).await;
    let problems = plan.problems.iter().map(ToString::to_string).collect();
    let is_ready = plan.is_ready;
    *settled = Settled::after(plan, own, peers).filter(|_| failure.is_none());
    (problems, is_ready, failure)
}

/// What follows from the node and its link alone.
fn standing(name: &str, own: &Own, kernel: &Kernel) -> Standing {
    let link = kernel.link_of(own.address);
    Standing {
        own: Some(entry(name, own)),
        mtu: link.map(|(_, link, _)| mtu_by(own.way, own.address, link.mtu)),
        ..Standing::default()
    }
}

/// The last plan, and the first failure.
async fn carry_out(
    own: &Own,
    peers: &[Arc<Peer>],
    wire: &Wire,
    kernel: &mut Kernel,
) -> (Plan, Option<String>) {
    let mut failure = None;
    let mut planned = plan(own, peers, kernel);
    // A created device is seen before the rest is planned. Should another program take each away at once, the announcement
    // of that leads here again.
    for _ in 0..ROUNDS {
        failure = failure.or(do_all(&planned.operations, wire, kernel).await);
        if failure.is_some() || !planned.is_begun() {
            break;
        }
        planned = plan(own, peers, kernel);
    }
    (planned, failure)
}

/// Carries out all of these; the first failure.
async fn do_all(operations: &[Operation], wire: &Wire, kernel: &mut Kernel) -> Option<String> {
    let mut failure = None;
    for operation in operations {
        if let Err(error) = wire.carry_out(operation, kernel).await {
            failure.get_or_insert_with(|| format!("{operation}: {error}"));
        }
    }
    failure
}

/// The peers but this node: all nodes may have the same file. `Err`: they are not known, for this reason if there is one.
fn others(inputs: &mut Inputs) -> Result<Arc<[Arc<Peer>]>, Option<String>> {
    let peers = match &*inputs.peers.borrow_and_update() {
        Peers::Known(peers) => Arc::clone(peers),
        Peers::Unreadable(why) => return Err(Some(why.clone())),
        Peers::Unknown => return Err(None),
    };
    let is_own = |peer: &&Arc<Peer>| peer.name == inputs.settings.name;
    Ok(match peers.iter().any(|peer| is_own(&peer)) {
        true => peers.iter().filter(|peer| !is_own(peer)).cloned().collect(),
        false => peers,
    })
}

fn become_(before: &mut Standing, now: Standing) -> bool {
    let differs = *before != now;
    *before = now;
    differs
}

/// This node, if its subnet and its address of that family are known.
fn own(inputs: &mut Inputs, mac: Mac) -> Option<Own> {
    let subnet = of_family(&inputs.subnets.borrow_and_update(), inputs.settings.network)?.trunc();
    let is_v4 = subnet.addr().is_ipv4();
    let addresses = inputs.addresses.borrow_and_update().clone();
    let address = *addresses.iter().find(|address| address.is_ipv4() == is_v4)?;
    Some(Own {
        address,
        network: inputs.settings.network,
        subnet,
        mac,
        way: way(inputs.settings.transport),
    })
}

fn way(transport: Transport) -> Way {
    match transport {
        Transport::HostGw => Way::HostGw,
        Transport::Vxlan { vni, port, is_direct } => Way::Vxlan { vni, port, is_direct },
    }
}

fn entry(name: &str, own: &Own) -> Peer {
    Peer {
        name: name.to_owned(),
        address: own.address,
        subnet: own.subnet,
        backend: match own.way {
            Way::HostGw => Backend::HostGw,
            Way::Vxlan { vni, .. } => Backend::Vxlan { vni, mac: own.mac },
        },
    }
}
