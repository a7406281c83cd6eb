//! The counters of the node, its pods and their containers at one moment. What the kernel does not report is absent.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The node and the pods that run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Top {
    /// The node.
    pub node: NodeCounters,
    /// The pods, in the order of their names.
    pub pods: Vec<PodCounters>,
}

/// The whole machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCounters {
    /// The node's name.
    pub name: String,
    /// Of the root cgroup; its limits are the machine's size.
    pub counters: Counters,
    /// The machine's interfaces. A bridge and the interface behind it count the same bytes.
    pub interfaces: Vec<InterfaceCounters>,
}

/// A pod with a running sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodCounters {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The runtime's ID of its sandbox, with which its network begins and ends.
    pub sandbox: String,
    /// Of the pod's cgroup; absent while it has none.
    pub counters: Option<Counters>,
    /// Those of the pod's network namespace, which is the machine's with the host's network; absent when they cannot be
    /// read.
    pub interfaces: Option<Vec<InterfaceCounters>>,
    /// Its running containers.
    pub containers: Vec<ContainerCounters>,
}

/// A running container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerCounters {
    /// Its name in the pod.
    pub name: String,
    /// The runtime's ID.
    pub id: String,
    /// Of its cgroup; absent if that is gone.
    pub counters: Option<Counters>,
}

/// What the kernel has counted of a cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// When they were read.
    pub at: Timestamp,
    /// The cgroup's number: another cgroup of the same path has another one.
    pub cgroup: u64,
    /// Time on CPUs.
    pub cpu: Option<CpuCounters>,
    /// Memory now.
    pub memory: Option<MemoryNow>,
    /// Time lost lately.
    pub pressure: PressureNow,
}

/// Time on CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuCounters {
    /// In nanoseconds, since the cgroup was created.
    pub total: u64,
    /// What it may use, in billionths of a CPU; absent without a limit.
    pub limit: Option<u64>,
    /// How the limit held it back.
    pub throttling: Option<ThrottlingCounters>,
}

/// How a CPU limit held a cgroup back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThrottlingCounters {
    /// The periods in which it wanted to run.
    pub periods: u64,
    /// The periods in which the limit was reached.
    pub throttled_periods: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryNow {
    /// What cannot be reclaimed easily.
    pub working_set: u64,
    /// What it may use; absent without a limit.
    pub limit: Option<u64>,
}

/// The share of the last 10 seconds in which at least one task waited (PSI's `avg10`), in per cent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PressureNow {
    /// For a CPU.
    pub cpu: Option<f64>,
    /// For memory.
    pub memory: Option<f64>,
    /// For I/O.
    pub io: Option<f64>,
}

impl PressureNow {
    /// For what is waited most; absent if the kernel reports none.
    pub fn greatest(&self) -> Option<f64> {
        [self.cpu, self.memory, self.io]
            .into_iter()
            .flatten()
            .reduce(f64::max)
    }
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceCounters {
    /// `eth0`
    pub name: String,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}
