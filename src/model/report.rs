//! What is told of the pods: written by `report` alone, read by whoever answers a question.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

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
    pub events: BTreeMap<PodName, Arc<Vec<PodEvent>>>,
}

/// Something that happened to a pod, as `kubectl describe` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEvent {
    /// The pod's UID when it happened.
    pub uid: PodUid,
    /// Whether it is trouble.
    pub kind: EventKind,
    /// `Started`, `BackOff`, … in the kubelet's words.
    pub reason: String,
    /// What happened.
    pub message: String,
    /// The part of the pod (`spec.containers{web}`); `None`: the pod as a whole.
    pub field_path: Option<String>,
    /// When it happened first.
    pub first: Timestamp,
    /// When it happened last.
    pub last: Timestamp,
    /// How often it happened, at least 1.
    pub count: u32,
}

/// Something that happened, told once as it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// What it happened to.
    pub about: About,
    /// Whether it is trouble.
    pub kind: EventKind,
    /// `Started`, `NodeReady`, … in the kubelet's words.
    pub reason: String,
    /// What happened.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum About {
    /// A pod, or a part of it (`spec.containers{web}`).
    Pod(PodName, PodUid, Option<String>),
    /// The node itself.
    Node,
}

/// `Event.type`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The usual course of things.
    Normal,
    /// Trouble.
    Warning,
}

impl EventKind {
    /// The name as it stands in an `Event`.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Normal => "Normal",
            EventKind::Warning => "Warning",
        }
    }
}
