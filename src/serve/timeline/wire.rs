//! What happened to a pod, as spans of time.

use serde::{Deserialize, Serialize};

pub use crate::model::span::{Part, Span};

/// What happened to a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodTimeline {
    /// The pod's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// In the order in which they began.
    pub spans: Vec<Span>,
    /// Spans for which there was no room.
    pub dropped: usize,
}
