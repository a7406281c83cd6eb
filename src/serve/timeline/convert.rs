//! A timeline as spans. Pure.

use jiff::SignedDuration;

use super::wire::{Part, PodTimeline, Span};
use crate::model::pod::PodName;
use crate::model::step::{StepKind, Subject};
use crate::model::timeline::{Entry, Timeline, What};

/// The timeline of the pod of this name.
pub(super) fn timeline(name: &PodName, timeline: &Timeline) -> PodTimeline {
    let mut spans: Vec<Span> = timeline
        .entries
        .iter()
        .map(|(what, entry)| span(what, entry))
        .collect();
    spans.sort_by_key(|span| (span.start, span.end));
    PodTimeline {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        uid: timeline.uid.0.clone(),
        spans,
        dropped: timeline.dropped,
    }
}

fn span(what: &What, entry: &Entry) -> Span {
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
        StepKind::EnsureImage if entry.pulled.is_some() => "pull image",
        StepKind::EnsureImage if entry.image.is_some() => "find image",
        kind => kind.as_str(),
    }
}

fn of(subject: &Subject) -> &str {
    match subject {
        Subject::Pod => "pod",
        Subject::Volume(name) | Subject::Container(name) => name,
    }
}

fn part(kind: StepKind) -> Part {
    match kind.removes() {
        true => Part::End,
        false => Part::Start,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::model::pod::PodUid;

    #[test]
    fn entries_become_spans_in_the_order_of_their_beginnings() {
        let entry = |second, image: Option<&str>, pulled, error: Option<&str>| Entry {
            began: Timestamp::from_second(second).unwrap(),
            took: Duration::from_millis(500),
            image: image.map(str::to_owned),
            pulled,
            error: error.map(str::to_owned),
        };
        let container = |kind| What::Step(kind, Subject::Container("web".to_owned()));
        let entries = BTreeMap::from([
            (What::PodReady, entry(9, None, None, None)),
            (What::ContainerReady("web".to_owned()), entry(8, None, None, None)),
            (
                container(StepKind::EnsureImage),
                entry(2, Some("demo:1"), Some(5), None),
            ),
            (
                container(StepKind::CreateContainer),
                entry(3, None, None, Some("no")),
            ),
            (
                What::Step(StepKind::RunSandbox, Subject::Pod),
                entry(1, None, None, None),
            ),
            (container(StepKind::StopContainer), entry(20, None, None, None)),
        ]);
        let all = timeline(
            &PodName::new("default", "web"),
            &Timeline {
                uid: PodUid("u1".to_owned()),
                entries,
                dropped: 3,
            },
        );
        assert_eq!(
            (all.name.as_str(), all.uid.as_str(), all.dropped),
            ("web", "u1", 3)
        );
        let text = all.spans.iter().map(|span| {
            let took = span.end.duration_since(span.start).as_millis();
            let (detail, error) = (span.detail.as_deref(), span.error.as_deref());
            let part = span.part;
            format!(
                "{} {} {part:?} {took} {detail:?} {error:?}",
                span.name, span.subject
            )
        });
        let expected = [
            "run sandbox pod Start 500 Some(\"with the pod's network\") None",
            "pull image web Start 500 Some(\"5 bytes of demo:1\") None",
            "create container web Start 500 None Some(\"no\")",
            "readiness probe succeeded web Start 500 None None",
            "ready pod Start 500 None None",
            "stop container web End 500 None None",
        ];
        assert_eq!(text.collect::<Vec<_>>(), expected);
    }
}
