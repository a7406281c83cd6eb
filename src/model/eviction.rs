//! What a node can be short of, and when pods have to make room (Kubernetes: *Node-pressure Eviction*).

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::resources::{Bytes, count_quantity};
use super::threshold::Threshold;

/// Something measured that has a threshold (`pkg/kubelet/eviction/api/types.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// `memory.available`: of the machine.
    Memory,
    /// `allocatableMemory.available`: of what all pods together may use.
    AllocatableMemory,
    /// `nodefs.available`
    Nodefs,
    /// `nodefs.inodesFree`
    NodefsInodes,
    /// `imagefs.available`
    Imagefs,
    /// `imagefs.inodesFree`
    ImagefsInodes,
    /// `containerfs.available`
    Containerfs,
    /// `containerfs.inodesFree`
    ContainerfsInodes,
    /// `pid.available`
    Pids,
}

/// What a signal is about: one condition of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shortage {
    /// `DiskPressure`: bytes or inodes, of the node's or the images' file system.
    Disk,
    /// `MemoryPressure`
    Memory,
    /// `PIDPressure`
    Pids,
}

impl Shortage {
    /// The type of the node's condition.
    pub fn condition(self) -> &'static str {
        match self {
            Shortage::Disk => "DiskPressure",
            Shortage::Memory => "MemoryPressure",
            Shortage::Pids => "PIDPressure",
        }
    }
}

/// What pods have to give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Starved {
    /// Memory.
    Memory,
    /// Bytes of a disk.
    Storage,
    /// Inodes of a disk.
    Inodes,
    /// Processes.
    Pids,
}

impl Starved {
    /// The name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Starved::Memory => "memory",
            Starved::Storage => "ephemeral-storage",
            Starved::Inodes => "inodes",
            Starved::Pids => "pids",
        }
    }
}

impl Signal {
    /// All, in the order of the documentation.
    pub const ALL: [Signal; 9] = [
        Signal::Memory,
        Signal::Nodefs,
        Signal::NodefsInodes,
        Signal::Imagefs,
        Signal::ImagefsInodes,
        Signal::Containerfs,
        Signal::ContainerfsInodes,
        Signal::AllocatableMemory,
        Signal::Pids,
    ];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Memory => "memory.available",
            Signal::AllocatableMemory => "allocatableMemory.available",
            Signal::Nodefs => "nodefs.available",
            Signal::NodefsInodes => "nodefs.inodesFree",
            Signal::Imagefs => "imagefs.available",
            Signal::ImagefsInodes => "imagefs.inodesFree",
            Signal::Containerfs => "containerfs.available",
            Signal::ContainerfsInodes => "containerfs.inodesFree",
            Signal::Pids => "pid.available",
        }
    }

    /// The signal of that name.
    pub fn of(name: &str) -> Option<Signal> {
        Signal::ALL.into_iter().find(|signal| signal.as_str() == name)
    }

    /// The signal whose thresholds this one has, whatever the configuration says of it: what all pods together may use has
    /// those of the machine's memory, and the containers' file system those of the node's.
    pub fn follows(self) -> Option<Signal> {
        match self {
            Signal::AllocatableMemory => Some(Signal::Memory),
            Signal::Containerfs => Some(Signal::Nodefs),
            Signal::ContainerfsInodes => Some(Signal::NodefsInodes),
            _ => None,
        }
    }

    /// The condition that the node has while the threshold is crossed.
    pub fn shortage(self) -> Shortage {
        match self {
            Signal::Memory | Signal::AllocatableMemory => Shortage::Memory,
            Signal::Pids => Shortage::Pids,
            _ => Shortage::Disk,
        }
    }

    /// What pods have to give back.
    pub fn starved(self) -> Starved {
        match self {
            Signal::Memory | Signal::AllocatableMemory => Starved::Memory,
            Signal::Nodefs | Signal::Imagefs | Signal::Containerfs => Starved::Storage,
            Signal::NodefsInodes | Signal::ImagefsInodes | Signal::ContainerfsInodes => Starved::Inodes,
            Signal::Pids => Starved::Pids,
        }
    }
}

/// When pods have to make room.
#[derive(Debug, Clone, PartialEq)]
pub struct EvictionThreshold {
    /// What is measured.
    pub signal: Signal,
    /// Less than this is too little.
    pub value: Threshold,
    /// How long it may be too little (`evictionSoftGracePeriod`); zero for a hard threshold.
    pub grace: Duration,
    /// How much more there has to be before it is enough again (`evictionMinimumReclaim`).
    pub reclaim: Option<Threshold>,
}

impl EvictionThreshold {
    /// Whether it takes effect at once (`evictionHard`).
    pub fn is_hard(&self) -> bool {
        self.grace.is_zero()
    }
}

/// The node's configuration of evictions.
#[derive(Debug, Clone, PartialEq)]
pub struct EvictionPolicy {
    /// The thresholds, hard ones first.
    pub thresholds: Vec<EvictionThreshold>,
    /// How long pods have that are evicted for a soft threshold, or their own grace period if that is shorter
    /// (`evictionMaxPodGracePeriod`); `None`: their own.
    pub max_pod_grace: Option<Duration>,
    /// How long a condition stays after its thresholds were crossed last (`evictionPressureTransitionPeriod`).
    pub transition: Duration,
    /// Whether pods that exceed their limits of local storage are evicted (`localStorageCapacityIsolation`).
    pub limits_storage: bool,
}

impl Default for EvictionPolicy {
    /// No threshold.
    fn default() -> EvictionPolicy {
        EvictionPolicy {
            thresholds: Vec::new(),
            max_pod_grace: Some(Duration::ZERO),
            transition: Duration::from_secs(300),
            limits_storage: true,
        }
    }
}

impl Starved {
    /// An amount as messages have it. The kubelet has read inodes and processes from the kernel in decimal units.
    pub fn amount(self, amount: i64) -> String {
        match self {
            Starved::Memory | Starved::Storage => Bytes(amount).quantity(),
            Starved::Inodes | Starved::Pids => count_quantity(amount),
        }
    }
}

/// What is known of the node's shortages. Written by `reconcile` alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodePressure {
    /// The node's conditions: what it is short of, or was until a moment ago.
    pub short_of: BTreeSet<Shortage>,
    /// What pods are being evicted for, and since when that is tried.
    pub attempt: Option<(Starved, Timestamp)>,
}
