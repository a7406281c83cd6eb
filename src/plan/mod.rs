//! What is to be done, as values. Pure: no clock, no file, no lock.
//!
//! [`pod::plan`] answers for one pod name: what is desired, what is observed and what is remembered go in, a
//! [`crate::model::step::Plan`] comes out. It is computed anew after each execution, from a new observation;
//! nothing is carried over but [`crate::model::memory::PodMemory`], which [`restart`] updates.

pub mod pod;
mod need;
mod start;
mod teardown;
pub mod gc;
pub mod restart;
pub(crate) mod interrupt;
pub mod admit;
pub mod resize;
pub mod node;
mod placement;
mod sandbox;
mod container;
mod security;
mod volume;
mod pull;
mod sub_path;
mod dns;
mod content;
mod environment;
mod ephemeral;
mod service_links;
pub mod amounts;
pub mod cgroup;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::object::Objects;
use crate::model::pod::{PodName, PodUid};
use crate::model::resources::Amounts;
use crate::model::runtime::{ObservedImage, RuntimeHandler};
use crate::model::service::Services;

/// What a plan must know beside the pod.
#[derive(Debug, Clone, Copy)]
pub struct PlanView<'a> {
    /// The name that the plan is for.
    pub name: &'a PodName,
    /// The runtime answers. Without it nothing can be done and nothing is planned.
    pub runtime_ready: bool,
    /// The runtime's network is ready; without it only pods of the host's network start without it.
    pub network_ready: bool,
    /// What the runtime's handlers can do.
    pub runtime_handlers: &'a [RuntimeHandler],
    /// Every source that may want what is observed has told its complete set, so what nobody wants may be removed.
    pub desired_complete: bool,
    /// The UID of the name that is wanted though refused here: it is left alone.
    pub unsupported: Option<&'a PodUid>,
    /// The images of the runtime: one that has appeared ends the waiting for its next pull.
    pub images: &'a [ObservedImage],
    /// UIDs with a directory or a cgroup ([`crate::model::runtime::Snapshot::leftovers`]).
    pub leftovers: &'a BTreeSet<PodUid>,
    /// The number that the next log of each container has, by the pod's log directory
    /// ([`crate::model::runtime::Snapshot::logs`]).
    pub logs: Option<&'a BTreeMap<String, u32>>,
    /// The objects that the pod may refer to.
    pub objects: &'a Objects,
    /// The Services of the cluster.
    pub services: &'a Services,
    /// What pods may use together, which a container sees as the limit of what is not limited.
    pub allocatable: &'a Amounts,
}
