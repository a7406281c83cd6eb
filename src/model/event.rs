//! What happened to pods and to the node, as Kubernetes' `Event` has it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::pod::{PodName, PodUid};

/// `Event.type`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// The expected course.
    Normal,
    /// A failure, or something that is probably a mistake.
    Warning,
}

impl EventType {
    /// The name in an `Event`.
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }
}

/// What happened to a pod, or to the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEvent {
    /// `Event.type`
    pub kind: EventType,
    /// `Started`, `BackOff`, … as the kubelet has it.
    pub reason: String,
    /// `Container started`
    pub message: String,
    /// The part of the pod (`spec.containers{web}`); `None`: the pod as a whole.
    pub field_path: Option<String>,
    /// `metadata.annotations` of the `Event`: what programs read about it.
    pub annotations: BTreeMap<String, String>,
}

/// An event of a pod, or of the node, with how often it happened, as `kubectl describe` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The pod's UID when it happened; of an event of the node, the node's name, as in the kubelet's.
    pub uid: PodUid,
    /// What happened.
    pub what: PodEvent,
    /// When it first happened.
    pub first: Timestamp,
    /// When it happened last.
    pub last: Timestamp,
    /// How often it happened, at least 1.
    pub count: u32,
}

/// An event on its way to the API server, once for each time it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it is about.
    pub about: About,
    /// `Event.type`
    pub kind: EventType,
    /// `Started`, `NodeReady`, … as the kubelet has it.
    pub reason: String,
    /// What happened.
    pub message: String,
    /// `metadata.annotations`
    pub annotations: BTreeMap<String, String>,
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
