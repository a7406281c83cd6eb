//! What is told of the pods: written by `report` alone, read by whoever answers a question.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::event::RecordedEvent;
use super::pod::{PodName, PodUid, Problem};

/// Everything that is told of pods, as one value.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PodsReport {
    /// Whether the runtime has told everything it has since the agent started. Before that a status says what is
    /// wanted rather than what is, and is nothing to tell an API server.
    pub listed: bool,
    /// The objects with their status filled in. A pod that did not change keeps its `Arc`.
    pub pods: BTreeMap<PodName, Arc<Pod>>,
    /// What the sources refused.
    pub problems: Vec<Problem>,
    /// What is dubious in what the sources took.
    pub warnings: Vec<Problem>,
    /// Pods whose deletion was asked for and of which nothing runs, is mounted or has a cgroup any more.
    pub finished: BTreeMap<PodName, PodUid>,
    /// Pods of which something is left on the node though the sources want another one under their name, or none.
    pub leaving: BTreeMap<PodName, BTreeSet<PodUid>>,
    /// Recent events by pod, the oldest first; bounded by the writer. Those of a pod that had none since keep their `Arc`.
    pub events: BTreeMap<PodName, Arc<Vec<RecordedEvent>>>,
}
