//! What a node has too little of for a pod (`fitsRequest` of the scheduler, which `pkg/kubelet/lifecycle/predicate.go` asks).

use std::fmt;

use crate::model::amounts::{self, Overhead};
use crate::model::pod::Pod;
use crate::model::resources::{Amounts, Bytes};

/// The node's allocatable resources.
#[derive(Debug, Clone, Copy)]
pub struct Room<'a> {
    /// CPU, memory, storage, …
    pub allocatable: &'a Amounts,
    /// The number of pods.
    pub max_pods: u32,
}

/// What pods request and nodes have, in its smallest unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// `pods`
    Pods,
    /// `cpu`, in thousandths
    Cpu,
    /// `memory`
    Memory,
    /// `ephemeral-storage`
    EphemeralStorage,
    /// `hugepages-<size>`
    HugePages(Bytes),
    /// `example.com/gpu`
    Extended(String),
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Pods => f.write_str("pods"),
            Resource::Cpu => f.write_str("cpu"),
            Resource::Memory => f.write_str("memory"),
            Resource::EphemeralStorage => f.write_str("ephemeral-storage"),
            Resource::HugePages(size) => write!(f, "hugepages-{}", size.quantity()),
            Resource::Extended(name) => f.write_str(name),
        }
    }
}

impl Resource {
    /// What one pod with these requests takes of it.
    pub fn of(&self, requests: &Amounts) -> i64 {
        match self {
            Resource::Pods => 1,
            Resource::Cpu => requests.cpu_or_zero(),
            Resource::Memory => requests.memory_or_zero(),
            Resource::EphemeralStorage => requests.ephemeral_storage.map_or(0, |bytes| bytes.0),
            Resource::HugePages(size) => requests.hugepages.get(size).map_or(0, |bytes| bytes.0),
            Resource::Extended(name) => requests.extended.get(name).copied().unwrap_or(0),
        }
    }
}

/// A resource of which the node has too little (`InsufficientResourceError`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// Which one.
    pub resource: Resource,
    requested: i64,
    used: i64,
    capacity: i64,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortage {
            resource,
            requested,
            used,
            capacity,
        } = self;
        write!(
            f,
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        )
    }
}

impl Shortage {
    /// How much of it has to become free; more than 0 (`GetInsufficientAmount`).
    pub fn amount(&self) -> i64 {
        let free = self.capacity.saturating_sub(self.used);
        self.requested.saturating_sub(free)
    }
}

/// What is used by pods, and by how many.
#[derive(Debug, Clone, Default)]
pub struct Used {
    pods: i64,
    amounts: Amounts,
}

impl Used {
    /// Adds a pod with these requests.
    pub fn add(&mut self, requests: &Amounts) {
        self.pods = self.pods.saturating_add(1);
        self.amounts.add(requests);
    }

    fn of(&self, resource: &Resource) -> i64 {
        match resource {
            Resource::Pods => self.pods,
            _ => resource.of(&self.amounts),
        }
    }
}

/// What the node has too little of for a pod with these requests, in the kubelet's order.
pub fn shortages(wanted: &Amounts, used: &Used, room: Room<'_>) -> Vec<Shortage> {
    let allocatable = room.allocatable;
    let basic = [
        (Resource::Pods, Some(i64::from(room.max_pods))),
        (Resource::Cpu, allocatable.cpu.map(|cpu| cpu.0)),
        (Resource::Memory, allocatable.memory.map(|bytes| bytes.0)),
        (
            Resource::EphemeralStorage,
            allocatable.ephemeral_storage.map(|bytes| bytes.0),
        ),
    ];
    let pages = wanted.hugepages.keys().map(|size| {
        let capacity = allocatable.hugepages.get(size).map_or(0, |bytes| bytes.0);
        (Resource::HugePages(*size), Some(capacity))
    });
    // A resource that the node does not know is handled by the cluster and is no reason for a rejection.
    let extended = wanted.extended.keys().map(|name| {
        let capacity = allocatable.extended.get(name).copied();
        (Resource::Extended(name.clone()), capacity)
    });
    let all = basic.into_iter().chain(pages).chain(extended);
    all.filter_map(|(resource, capacity)| {
        let (requested, used, capacity) = (resource.of(wanted), used.of(&resource), capacity?);
        let shortage = Shortage {
            resource,
            requested,
            used,
            capacity,
        };
        (requested > 0 && shortage.amount() > 0).then_some(shortage)
    })
    .collect()
}

/// What a pod takes of the node.
pub fn requests(pod: &Pod) -> Amounts {
    amounts::pod_requests(pod, Overhead::With)
}
