//! Plans: what to do next, as values. Pure: no clock, no file, no lock.
//!
//! [`pod::plan`] handles one pod name: it takes the desired state, the observed state and the memory, and returns a
//! [`crate::model::step::Plan`]. The plan is computed again after each execution, from a new observation; the only
//! thing carried over is [`crate::model::memory::PodMemory`], which [`restart`] updates.

pub mod pod;
mod need;
mod start;
mod teardown;
pub mod gc;
pub mod restart;
mod restart_all;
pub(crate) mod interrupt;
pub mod admit;
pub mod shortage;
pub mod resize;
mod actuation;
pub mod node;
mod placement;
mod sandbox;
mod container;
mod context;
mod security;
mod volume;
mod claim;
mod local;
mod nfs;
mod network_disk;
mod mount_options;
mod csi;
mod expand;
mod image_volume;
mod huge_pages;
mod pull;
mod republish;
mod sub_path;
mod dns;
mod content;
mod environment;
mod ephemeral;
mod failures;
mod service_links;
mod qos_memory;
mod reserved;
pub mod cgroup;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::object::Objects;
use crate::model::placement::NodeMarks;
use crate::model::pod::{PodName, PodUid};
use crate::model::resources::Amounts;
use crate::model::runtime::{ObservedImage, RuntimeHandler};
use crate::model::service::Services;

/// The inputs of a plan besides the pod.
#[derive(Debug, Clone, Copy)]
pub struct PlanView<'a> {
    /// The pod name that the plan is for.
    pub name: &'a PodName,
    /// Whether the runtime answers. Without it nothing can be done and nothing is planned.
    pub runtime_ready: bool,
    /// Whether the runtime's network is ready; if not, only pods with the host's network start.
    pub network_ready: bool,
    /// The features of the runtime's handlers.
    pub runtime_handlers: &'a [RuntimeHandler],
    /// Every source that may desire an observed pod has sent its complete set, so pods that no source desires may be
    /// removed.
    pub desired_complete: bool,
    /// The UID of a desired pod that is unsupported here: it is left alone.
    pub unsupported: Option<&'a PodUid>,
    /// The images of the runtime: one that has appeared ends the wait for its next pull.
    pub images: &'a [ObservedImage],
    /// UIDs with a directory or a cgroup ([`crate::model::runtime::Snapshot::leftovers`]).
    pub leftovers: &'a BTreeSet<PodUid>,
    /// The number of the next log of each container, by the pod's log directory
    /// ([`crate::model::runtime::Snapshot::logs`]).
    pub logs: Option<&'a BTreeMap<String, u32>>,
    /// The objects that the pod may refer to.
    pub objects: &'a Objects,
    /// The Services of the cluster.
    pub services: &'a Services,
    /// The node's labels; `None`: not known.
    pub node: Option<&'a NodeMarks>,
    /// The node's allocatable resources, which a container sees as the limit of what is not limited.
    pub allocatable: &'a Amounts,
}
