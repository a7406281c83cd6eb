//! What the network's loop says of the pod network, put together from its parts.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use ipnet::IpNet;
use tokio::sync::watch;

use crate::model::overlay::Peer;
use crate::model::pod_network::{NetworkStanding, PodNetwork};

/// A part that may not be there, in the order in which they are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The subnets of the node.
    Subnets,
    /// What the cluster says of the network.
    Settings,
    /// The way to other nodes.
    Overlay,
}

/// The one writer of the node's pod network.
#[derive(Debug)]
pub(super) struct Published {
    out: watch::Sender<PodNetwork>,
    said: Mutex<Said>,
}

#[derive(Debug)]
struct Said {
    /// What is so as long as no part says anything.
    first: NetworkStanding,
    faults: BTreeMap<Part, String>,
}

impl Published {
    /// Publishes what is so as long as no part says anything.
    pub(super) fn new(out: watch::Sender<PodNetwork>, first: NetworkStanding) -> Published {
        out.send_modify(|network| network.standing = first.clone());
        let said = Said {
            first,
            faults: BTreeMap::new(),
        };
        Published {
            out,
            said: Mutex::new(said),
        }
    }

    /// Why a part is not there, or that nothing is known to be wrong with it. A network that was up is not said to be down:
    /// what stands goes on.
    pub(super) fn fault(&self, part: Part, why: Option<String>) {
        let mut said = self.said();
        match why {
            Some(why) => drop(said.faults.insert(part, why)),
            None => drop(said.faults.remove(&part)),
        }
        let standing = said.faults.values().next().cloned().map(NetworkStanding::Down);
        let standing = standing.unwrap_or_else(|| said.first.clone());
        self.out.send_if_modified(|network| {
            let differs = network.standing != NetworkStanding::Up && network.standing != standing;
            if differs {
                network.standing = standing;
            }
            differs
        });
    }

    /// Another program connects the pods after all.
    pub(super) fn of_another(&self) {
        self.said().first = NetworkStanding::Another;
        self.change(|network| *network = PodNetwork::default());
    }

    /// Pods with addresses of these subnets reach all that they shall reach.
    pub(super) fn up(&self, subnets: &[IpNet]) {
        self.change(|network| {
            network.subnets = subnets.to_vec();
            network.standing = NetworkStanding::Up;
        });
    }

    /// What other nodes need to know of this one.
    pub(super) fn entries(&self, entries: Vec<Peer>) {
        self.change(|network| network.entries = entries);
    }

    fn change(&self, change: impl FnOnce(&mut PodNetwork)) {
        self.out.send_if_modified(|network| {
            let before = network.clone();
            change(network);
            *network != before
        });
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().expect("no holder of this lock can panic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_missing_part_is_named_until_all_are_there() {
        let (out, network) = watch::channel(PodNetwork::default());
        let published = Published::new(out, NetworkStanding::Undetermined);
        let standing = || network.borrow().standing.clone();
        let down = |why: &str| NetworkStanding::Down(why.to_owned());
        assert_eq!(standing(), NetworkStanding::Undetermined);
        published.fault(Part::Settings, Some("forbidden".to_owned()));
        published.fault(Part::Subnets, Some("unassigned".to_owned()));
        assert_eq!(standing(), down("unassigned"));
        published.fault(Part::Subnets, None);
        assert_eq!(standing(), down("forbidden"));
        published.fault(Part::Settings, None);
        assert_eq!(standing(), NetworkStanding::Undetermined);
        published.up(&["10.244.1.0/24".parse().unwrap()]);
        published.fault(Part::Overlay, Some("no route".to_owned()));
        assert_eq!(standing(), NetworkStanding::Up);
        published.of_another();
        assert_eq!(standing(), NetworkStanding::Another);
    }
}
