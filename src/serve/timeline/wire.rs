//! What happened to a pod, as spans of time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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

/// Something that was done or observed. What was observed ends when it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// What it was: `create container`.
    pub name: String,
    /// What it was about: `pod`, or the name of a container or volume.
    pub subject: String,
    /// Whether it belongs to a start or to an end.
    pub part: Part,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// More about it: the image, and how much was pulled.
    pub detail: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// What a span is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// A start.
    Start,
    /// An end.
    End,
    /// Either: a status was written to the API server.
    Status,
}
