//! What the status of a pod is made from.

use jiff::Timestamp;

use crate::model::memory::PodMemory;
use crate::model::node::NodePolicy;
use crate::model::pod::Pod;
use crate::model::runtime::{ObservedPod, RuntimeHandler};

/// The inputs of statuses.
#[derive(Clone, Copy)]
pub(super) struct StatusContext<'a> {
    pub(super) pod: &'a Pod,
    pub(super) seen: &'a ObservedPod,
    pub(super) memory: Option<&'a PodMemory>,
    pub(super) policy: &'a NodePolicy,
    /// The features of the runtime's handlers.
    pub(super) handlers: &'a [RuntimeHandler],
    /// Whether all containers are being restarted, so that a missing one was removed for that.
    pub(super) restarts_all: bool,
    pub(super) now: Timestamp,
}

/// The kind of a container in its pod.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Regular,
    Init,
    Sidecar,
    Ephemeral,
}
