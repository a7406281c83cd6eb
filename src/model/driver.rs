//! The storage drivers that are registered on the node.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A CSI driver, as it answered when it registered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Driver {
    /// The socket that serves it.
    pub endpoint: PathBuf,
    /// What it calls this node.
    pub node_id: String,
    /// Where the node is for it, by domain.
    pub topology: BTreeMap<String, String>,
    /// How many of its volumes the node can have; `None`: not stated.
    pub max_volumes: Option<i64>,
    /// What it can do.
    pub abilities: BTreeSet<Ability>,
}

impl Driver {
    /// Whether it can do this.
    pub fn can(&self, ability: Ability) -> bool {
        self.abilities.contains(&ability)
    }
}

/// The kubelet's words for a driver that is not registered (`pkg/volume/csi/csi_client.go`).
pub fn not_registered(name: &str) -> String {
    format!("driver name {name} not found in the list of registered CSI drivers")
}

/// What a driver may be able to do (`NodeServiceCapability.RPC.Type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ability {
    /// Its volumes are staged once for the node before they are published for each pod.
    Stage,
    /// It measures its volumes.
    Measure,
    /// It enlarges its volumes on the node.
    Expand,
    /// It tells whether a volume is well.
    Condition,
    /// It knows the access modes of one node.
    SingleNodeModes,
    /// It gives a volume to a group itself.
    MountGroup,
}

/// The drivers that are registered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drivers {
    /// Each driver that had a socket when the agent started was asked once: one that is not here is not registered.
    pub are_known: bool,
    /// How many sockets may have a driver behind them that is not registered: one that was registered in an earlier life
    /// of the agent may still come back.
    pub unregistered: usize,
    /// By name.
    pub by_name: BTreeMap<String, Arc<Driver>>,
}

/// What became of writing to the API server what a driver says of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The driver, as it was registered: another registration has another `Arc`.
    pub driver: Arc<Driver>,
    /// The API server has it, or refuses it for this reason.
    pub result: Result<(), String>,
}

/// By the drivers' names. What is not here is not written yet.
pub type Publications = BTreeMap<String, Publication>;

/// What drivers have said of the node after their registration, by name: each registration with its last answer. What
/// they have not said otherwise is not here.
pub type Told = BTreeMap<String, (Arc<Driver>, Driver)>;

/// How often drivers want to be asked again how many volumes a node can have, by name; others do not.
pub type Periods = BTreeMap<String, Duration>;

/// What became of this registration; `None`: nothing yet.
pub fn publication<'p>(
    all: &'p Publications,
    name: &str,
    driver: &Arc<Driver>,
) -> Option<&'p Result<(), String>> {
    all.get(name)
        .filter(|one| Arc::ptr_eq(&one.driver, driver))
        .map(|one| &one.result)
}
