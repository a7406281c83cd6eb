//! The entries of a timeline as spans of time, as people and collectors of traces see them. Pure.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::step::{StepKind, Subject};
use super::timeline::{Entry, What};

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

/// An entry as a span.
pub fn span(what: &What, entry: &Entry) -> Span {
    let (name, subject, part) = match what {
        What::Step(kind, subject) => (step_name(*kind, entry), of(subject), part(*kind)),
        What::Started(container) => ("startup probe succeeded", container.as_str(), Part::Start),
        What::ContainerReady(container) => ("readiness probe succeeded", container.as_str(), Part::Start),
        What::PodReady => ("ready", "pod", Part::Start),
        What::StatusWritten(_) => ("write status", "pod", Part::Status),
    };
    let detail = match (what, &entry.image, entry.pulled) {
        (_, Some(image), Some(bytes)) => Some(format!("{bytes} bytes of {image}")),
        (_, Some(image), None) => Some(image.clone()),
        // The runtime does not say how much of the time its network plugins took.
        (What::Step(StepKind::RunSandbox, _), ..) => Some("with the pod's network".to_owned()),
        _ => None,
    };
    let took = SignedDuration::try_from(entry.took).unwrap_or(SignedDuration::MAX);
    Span {
        name: name.to_owned(),
        subject: subject.to_owned(),
        part,
        start: entry.began,
        end: entry.began.saturating_add(took).unwrap_or(entry.began),
        detail,
        error: entry.error.clone(),
    }
}

fn step_name(kind: StepKind, entry: &Entry) -> &'static str {
    match kind {
        StepKind::EnsureImage | StepKind::EnsureVolumeImage if entry.pulled.is_some() => "pull image",
        StepKind::EnsureImage | StepKind::EnsureVolumeImage if entry.image.is_some() => "find image",
        kind => kind.as_str(),
    }
}

fn of(subject: &Subject) -> &str {
    match subject {
        Subject::Pod => "pod",
        Subject::Volume(name) | Subject::ImageVolume(name) | Subject::Container(name) => name,
    }
}

/// What a step is a part of.
pub fn part(kind: StepKind) -> Part {
    match kind.removes() {
        true => Part::End,
        false => Part::Start,
    }
}
