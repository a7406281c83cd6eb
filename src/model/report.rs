//! The published view of the pods: written by `report` alone, read by the API publisher and the request handlers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::event::RecordedEvent;
use super::pod::{PodName, PodUid, Problem};
use super::timeline::Timelines;

/// The API server has taken a status of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusWritten {
    /// The pod.
    pub pod: PodName,
    /// When the request was sent.
    pub began: Timestamp,
    /// How long it took.
    pub took: Duration,
}

/// The reported state of all pods, as one value.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PodsReport {
    /// Whether the runtime has been listed completely since the agent started. Before that, a status would show the
    /// desired state instead of the observed one and must not be sent to an API server.
    pub listed: bool,
    /// The objects with their status. Unchanged pods keep their `Arc`.
    pub pods: BTreeMap<PodName, Arc<Pod>>,
    /// What the sources rejected.
    pub problems: Vec<Problem>,
    /// Warnings about what the sources accepted.
    pub warnings: Vec<Problem>,
    /// Pods whose deletion was requested and that have no running containers, mounts or cgroup left.
    pub finished: BTreeMap<PodName, PodUid>,
    /// Pods that still have something on the node although the sources want another pod of that name, or none.
    pub leaving: BTreeMap<PodName, BTreeSet<PodUid>>,
    /// Recent events by pod, the oldest first; bounded by the writer. Unchanged lists keep their `Arc`.
    pub events: BTreeMap<PodName, Arc<Vec<RecordedEvent>>>,
    /// Recent events of the node itself, likewise; their UID is the node's name.
    pub node_events: Arc<Vec<RecordedEvent>>,
    /// The steps of the pods' last starts and ends, as far as this agent has done them.
    pub timelines: Timelines,
}
