//! A timeline as it is answered. Pure.

use super::wire::{PodTimeline, Span};
use crate::model::pod::PodName;
use crate::model::span::span;
use crate::model::timeline::Timeline;

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::model::pod::PodUid;
    use crate::model::step::{StepKind, Subject};
    use crate::model::timeline::{Entry, What};

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
