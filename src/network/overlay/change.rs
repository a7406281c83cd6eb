//! What has to be done when some of many peers change and nothing else: the cost is that of the change, and not that of all
//! peers. Pure. Where anything is out of the ordinary, the whole plan says what is to be done ([`super::plan`]).

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::kernel::Kernel;
use super::operation::{Operation, Route};
use super::own::Own;
use super::plan::{Plan, on_device};
use super::wanted::{Place, Wanted, is_elsewhere};
use crate::model::overlay::{Mac, Peer};

/// A plan that was carried out: the kernel has what these peers ask for.
#[derive(Debug)]
pub(super) struct Settled {
    own: Own,
    peers: Arc<[Arc<Peer>]>,
    place: Place,
    wanted: Wanted,
}

/// What may be different for a peer that came or went.
#[derive(Default)]
struct Touched {
    routes: BTreeSet<IpNet>,
    forwarding: BTreeSet<Mac>,
    neighbors: BTreeSet<IpAddr>,
    /// The ways that are not wanted any more.
    former: Vec<Route>,
}

impl Settled {
    /// What stands after this plan; absent if a peer cannot be reached: another one may take its place.
    pub(super) fn after(plan: Plan, own: &Own, peers: &Arc<[Arc<Peer>]>) -> Option<Settled> {
        let (place, wanted) = plan.reached.filter(|_| plan.problems.is_empty())?;
        Some(Settled {
            own: own.clone(),
            peers: Arc::clone(peers),
            place,
            wanted,
        })
    }

    /// What other peers ask for, while the kernel is as it was; absent if that takes a whole plan.
    pub(super) fn change(
        mut self,
        own: &Own,
        peers: &Arc<[Arc<Peer>]>,
        kernel: &Kernel,
    ) -> Option<(Settled, Vec<Operation>)> {
        if self.own != *own {
            return None;
        }
        let (before, now) = differing(&self.peers, peers);
        let (gone, mut come) = (only(own, before, now), only(own, now, before));
        let mut touched = Touched::default();
        for peer in &gone {
            touched.note(peer);
            touched.former.extend(self.wanted.forget(peer));
        }
        come.sort_by_key(|peer| peer.subnet);
        for peer in &come {
            touched.note(peer);
            self.wanted.add(own, &self.place, peer).ok()?;
        }
        let operations = self.operations(&touched, kernel)?;
        self.peers = Arc::clone(peers);
        Some((self, operations))
    }

    /// In the order of a whole plan: what goes before what comes, and a route before what it leads to when it goes, after
    /// that when it comes.
    fn operations(&self, touched: &Touched, kernel: &Kernel) -> Option<Vec<Operation>> {
        let mut operations = Vec::new();
        let goes = |route: &&Route| !self.wanted.routes.contains_key(&route.destination);
        let gone = touched.former.iter().filter(goes);
        operations.extend(gone.cloned().map(Operation::RemoveRoute));
        if let Some(index) = self.place.device {
            let those = (&touched.neighbors, &touched.forwarding);
            operations.extend(
                on_device(index, &self.wanted, kernel, those)
                    .into_iter()
                    .flatten(),
            );
        }
        for route in touched.routes.iter().filter_map(|to| self.wanted.routes.get(to)) {
            // A way of somebody else's is the whole plan's to judge.
            let is_former = |other: &Route| touched.former.contains(other);
            if kernel
                .routes_to(route.destination)
                .any(|other| other != route && !is_former(other))
            {
                return None;
            }
            if !kernel.routes.contains(route) {
                operations.push(Operation::SetRoute(route.clone()));
            }
        }
        Some(operations)
    }
}

impl Touched {
    fn note(&mut self, peer: &Peer) {
        self.routes.insert(peer.subnet);
        self.neighbors.insert(peer.subnet.network());
        self.forwarding.extend(peer.backend.mac());
    }
}

/// Both without what they begin and end with alike, which is nearly all: looking up each peer takes a hash of each.
fn differing<'a>(before: &'a [Arc<Peer>], now: &'a [Arc<Peer>]) -> (&'a [Arc<Peer>], &'a [Arc<Peer>]) {
    let is_same = |(before, now): &(&Arc<Peer>, &Arc<Peer>)| Arc::ptr_eq(before, now);
    let first = before.iter().zip(now).take_while(is_same).count();
    let (before, now) = (&before[first..], &now[first..]);
    let last = before
        .iter()
        .rev()
        .zip(now.iter().rev())
        .take_while(is_same)
        .count();
    (&before[..before.len() - last], &now[..now.len() - last])
}

/// The other nodes that are among these and not among those. A source keeps what it knows of a peer that has not changed.
fn only(own: &Own, these: &[Arc<Peer>], those: &[Arc<Peer>]) -> Vec<Arc<Peer>> {
    let those: HashSet<*const Peer> = those.iter().map(Arc::as_ptr).collect();
    let only = these.iter().filter(|peer| !those.contains(&Arc::as_ptr(peer)));
    only.filter(|peer| is_elsewhere(own, peer)).cloned().collect()
}
