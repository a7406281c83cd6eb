//! How the node's memory is divided among cgroups, beyond the limits of pods.

use super::resources::Bytes;

/// The rules of a node.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MemoryRules {
    /// `singleProcessOOMKill`: whether the kernel ends one process of a container that runs out of memory, not all.
    pub single_process_oom_kill: bool,
    /// `qosReserved.memory` in percent: how much of the memory that pods request is kept from the QoS classes below
    /// theirs.
    pub reserved_percent: Option<i64>,
    /// The feature gate `MemoryQoS` on cgroup v2; `None`: off.
    pub qos: Option<MemoryQos>,
}

/// Throttling and protection of memory by cgroup v2 (KEP-2570).
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryQos {
    /// `memoryThrottlingFactor`: above 0, at most 1.
    pub throttling: f64,
    /// `memoryReservationPolicy`
    pub reservation: MemoryReservation,
    /// The node's memory without what is reserved: the limit of containers that have none.
    pub allocatable: Bytes,
    /// The size of the kernel's pages in bytes.
    pub page_size: i64,
}

/// `memoryReservationPolicy`: whether requested memory is protected from being reclaimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryReservation {
    /// `None`: it is not.
    #[default]
    None,
    /// `TieredReservation`: that of guaranteed pods by `memory.min`, that of burstable ones by `memory.low`.
    Tiered,
}

/// Protected memory, in bytes ("Memory Interface Files" of the kernel's cgroup-v2 document). `None`: the value is not
/// changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryProtection {
    /// `memory.min`: never reclaimed.
    pub min: Option<i64>,
    /// `memory.low`: reclaimed only when nothing unprotected is left.
    pub low: Option<i64>,
}
