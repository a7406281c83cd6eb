//! What pods use of the machine, and what of it has to be measured.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::pod::PodUid;
use super::resources::Bytes;
use super::stats::PodStorage;

/// What each pod uses, measured at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PodsUse {
    /// When measuring began.
    pub at: Timestamp,
    /// The running pods.
    pub pods: BTreeMap<PodUid, PodUse>,
}

/// What a pod uses.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PodUse {
    /// The memory of the whole pod that cannot be reclaimed easily, in bytes.
    pub working_set: u64,
    /// Its processes.
    pub processes: u64,
    /// By container.
    pub containers: BTreeMap<String, ContainerUse>,
    /// What it keeps on disks; absent if that was not asked, or is not known yet.
    pub storage: Option<PodStorage>,
}

/// What a running container uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerUse {
    /// The runtime's ID.
    pub id: String,
    /// Memory that cannot be reclaimed easily, in bytes.
    pub working_set: Option<u64>,
}

/// What loop 1 needs to have measured before it can decide.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// A measurement of the machine that began at this moment or later.
    pub machine_since: Option<Timestamp>,
    /// What pods use, likewise.
    pub pods_since: Option<Timestamp>,
    /// Whether that includes what they keep on disks.
    pub with_storage: bool,
    /// A measurement of the machine as soon as the node's disk has less than this: a pod may have taken more than it may.
    pub nodefs_below: Option<Bytes>,
    /// The pods whose volumes are walked through for that, because one may have to go for what a quota says.
    pub walked: BTreeSet<PodUid>,
}
