//! Which traces are complete. Pure.
//!
//! A start is one trace, from its first step until the pod is ready; what happens to containers of a pod that is there
//! is another, and its end a third one. Statuses that are written later belong to none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::model::pod::{PodName, PodUid};
use crate::model::span::{Part, Span, part, span};
use crate::model::step::StepKind;
use crate::model::timeline::{Timeline, Timelines, What};

/// How long a pod may take to become ready before what was done so far is sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// The ID of a trace, which is as good as random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceId(pub(super) [u8; 16]);

/// What the spans of a trace are together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The pod was started.
    Start,
    /// Something was done to a pod that had been started.
    Change,
    /// The pod was stopped and removed.
    End,
}

/// A complete trace.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trace {
    pub(super) id: TraceId,
    pub(super) kind: Kind,
    pub(super) pod: PodName,
    pub(super) uid: PodUid,
    /// Why it is not what it should be: the pod is not ready.
    pub(super) error: Option<String>,
    /// At least one, in the order of their beginnings.
    pub(super) spans: Vec<(What, Span)>,
}

/// What there is to send, and when to look again even if nothing changes.
#[derive(Debug, Default)]
pub(super) struct Assembled {
    pub(super) traces: Vec<Trace>,
    pub(super) wake_in: Option<Duration>,
}

/// What is known of one pod.
#[derive(Debug)]
struct Known {
    /// What was seen last; what is unchanged is not looked at again.
    seen: Arc<Timeline>,
    /// The beginnings of the entries that were sent, or are not to be sent.
    done: BTreeMap<What, Timestamp>,
    /// When to look at it even if it does not change.
    due: Option<Timestamp>,
}

/// Remembers what was sent.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    pods: BTreeMap<PodName, Known>,
}

impl Assembler {
    /// The traces that are complete now.
    pub(super) fn assemble(&mut self, timelines: &Timelines, now: Timestamp) -> Assembled {
        self.pods.retain(|name, _| timelines.get(name).is_some());
        let mut assembled = Assembled::default();
        for (name, timeline, has_ended) in timelines.iter() {
            let known = self.pods.entry(name.clone()).or_insert_with(|| Known {
                seen: Arc::clone(timeline),
                done: BTreeMap::new(),
                due: Some(now),
            });
            let is_due = known.due.is_some_and(|due| due <= now);
            if is_due || has_ended || !Arc::ptr_eq(&known.seen, timeline) {
                known.seen = Arc::clone(timeline);
                assembled.traces.extend(known.advance(name, has_ended, now));
            }
        }
        let due = self.pods.values().filter_map(|known| known.due).min();
        assembled.wake_in = due.map(|due| Duration::try_from(due.duration_since(now)).unwrap_or_default());
        assembled
    }
}

impl Known {
    fn advance(&mut self, name: &PodName, has_ended: bool, now: Timestamp) -> Vec<Trace> {
        self.due = None;
        let entries = &self.seen.entries;
        // Entries are forgotten when the pod starts again.
        self.done.retain(|what, _| entries.contains_key(what));
        let is_new = |what: &What, began: Timestamp| self.done.get(what) != Some(&began);
        let new = entries.iter().filter(|(what, entry)| is_new(what, entry.began));
        let mut new: Vec<(What, Span)> = new
            .map(|(what, entry)| (what.clone(), span(what, entry)))
            .collect();
        new.sort_by_key(|(_, span)| (span.start, span.end));
        let (ends, starts): (Vec<_>, Vec<_>) = new.into_iter().partition(|(what, _)| is_of_an_end(what));

        let mut traces = Vec::new();
        let is_ready = entries.contains_key(&What::PodReady);
        if starts
            .iter()
            .all(|(what, _)| matches!(what, What::StatusWritten(_)))
        {
            self.finish(&starts);
        } else if let Some(latest) = starts
            .first()
            .and_then(|(_, first)| first.start.checked_add(PATIENCE).ok())
        {
            if is_ready || has_ended || !ends.is_empty() || latest <= now {
                self.finish(&starts);
                traces.push(self.start(name, starts, is_ready));
            } else {
                self.due = Some(latest);
            }
        }
        if has_ended && !ends.is_empty() {
            self.finish(&ends);
            traces.push(self.trace(Kind::End, name, ends, None));
        }
        traces
    }

    fn start(&self, name: &PodName, spans: Vec<(What, Span)>, is_ready: bool) -> Trace {
        let is_sandbox = |what: &What| matches!(what, What::Step(StepKind::RunSandbox, _));
        let kind = match spans.iter().any(|(what, _)| is_sandbox(what)) {
            true => Kind::Start,
            false => Kind::Change,
        };
        let error = (!is_ready).then(|| "the pod is not ready".to_owned());
        self.trace(kind, name, spans, error)
    }

    fn finish(&mut self, spans: &[(What, Span)]) {
        let done = spans.iter().map(|(what, span)| (what.clone(), span.start));
        self.done.extend(done);
    }

    fn trace(&self, kind: Kind, name: &PodName, spans: Vec<(What, Span)>, error: Option<String>) -> Trace {
        let mut hash = Sha256::new();
        hash.update(self.seen.uid.0.as_bytes());
        if let Some((_, first)) = spans.first() {
            hash.update(first.start.as_nanosecond().to_be_bytes());
        }
        hash.update([kind as u8]);
        let id = hash.finalize().first_chunk().copied().unwrap_or_default();
        Trace {
            id: TraceId(id),
            kind,
            pod: name.clone(),
            uid: self.seen.uid.clone(),
            error,
            spans,
        }
    }
}

fn is_of_an_end(what: &What) -> bool {
    matches!(what, What::Step(kind, _) if part(*kind) == Part::End)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::{Done, Outcome, StepReport};
    use crate::model::step::Subject;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn name() -> PodName {
        PodName::new("default", "web")
    }

    /// A plan of these steps, one a second.
    fn record(timelines: &mut Timelines, began: i64, kinds: &[StepKind]) {
        let steps = kinds.iter().enumerate().map(|(number, kind)| StepReport {
            subject: Subject::Pod,
            kind: *kind,
            began: at(began + i64::try_from(number).unwrap()),
            took: Duration::from_secs(1),
            result: Ok(Done::Nothing),
        });
        timelines.record(&Outcome {
            pod: name(),
            uid: PodUid("u1".to_owned()),
            at: at(0),
            steps: steps.collect(),
        });
    }

    fn ready(timelines: &mut Timelines, when: i64) {
        assert!(timelines.observe(&name(), &PodUid("u1".to_owned()), What::PodReady, at(when)));
    }

    /// The traces at that second, and in how many seconds to look again.
    fn check(
        assembler: &mut Assembler,
        timelines: &Timelines,
        now: i64,
        expected: &[(Kind, &[&str], Option<&str>)],
        wake_in: Option<u64>,
    ) {
        let assembled = assembler.assemble(timelines, at(now));
        let found: Vec<(Kind, Vec<&str>, Option<&str>)> = assembled
            .traces
            .iter()
            .map(|trace| {
                let spans = trace.spans.iter().map(|(_, span)| span.name.as_str());
                (trace.kind, spans.collect(), trace.error.as_deref())
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(kind, spans, error)| (*kind, spans.to_vec(), *error))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(assembled.wake_in, wake_in.map(Duration::from_secs));
    }

    const START: [StepKind; 2] = [StepKind::EnsureCgroup, StepKind::RunSandbox];

    #[test]
    fn a_start_is_sent_when_the_pod_is_ready() {
        let (mut timelines, mut assembler) = (Timelines::default(), Assembler::default());
        check(&mut assembler, &timelines, 0, &[], None);
        record(&mut timelines, 1, &START);
        check(&mut assembler, &timelines, 3, &[], Some(58));
        ready(&mut timelines, 4);
        timelines.write(&name(), at(5), Duration::ZERO);
        let spans = ["set cgroup", "run sandbox", "ready", "write status"];
        check(
            &mut assembler,
            &timelines,
            6,
            &[(Kind::Start, &spans, None)],
            None,
        );
        check(&mut assembler, &timelines, 7, &[], None);
        // A later status is no trace.
        timelines.write(&name(), at(8), Duration::ZERO);
        check(&mut assembler, &timelines, 9, &[], None);
        record(&mut timelines, 10, &[StepKind::CreateContainer]);
        let change = [(Kind::Change, ["create container"].as_slice(), None)];
        check(&mut assembler, &timelines, 12, &change, None);
    }

    #[test]
    fn a_start_that_takes_long_is_sent_in_parts() {
        let (mut timelines, mut assembler) = (Timelines::default(), Assembler::default());
        record(&mut timelines, 1, &START);
        check(&mut assembler, &timelines, 60, &[], Some(1));
        let spans = ["set cgroup", "run sandbox"];
        let start = [(Kind::Start, spans.as_slice(), Some("the pod is not ready"))];
        check(&mut assembler, &timelines, 61, &start, None);
        ready(&mut timelines, 70);
        let change = [(Kind::Change, ["ready"].as_slice(), None)];
        check(&mut assembler, &timelines, 70, &change, None);
    }

    #[test]
    fn an_end_is_sent_when_nothing_is_left() {
        let (mut timelines, mut assembler) = (Timelines::default(), Assembler::default());
        record(&mut timelines, 1, &START);
        record(&mut timelines, 10, &[StepKind::StopSandbox]);
        let spans = ["set cgroup", "run sandbox"];
        let start = [(Kind::Start, spans.as_slice(), Some("the pod is not ready"))];
        check(&mut assembler, &timelines, 11, &start, None);
        record(&mut timelines, 12, &[StepKind::RemoveSandbox]);
        check(&mut assembler, &timelines, 13, &[], None);
        timelines.end(&name());
        let end = [(Kind::End, ["stop sandbox", "remove sandbox"].as_slice(), None)];
        check(&mut assembler, &timelines, 14, &end, None);
        check(&mut assembler, &timelines, 15, &[], None);
        // It comes back under the same name.
        record(&mut timelines, 20, &START);
        ready(&mut timelines, 22);
        let spans = ["set cgroup", "run sandbox", "ready"];
        check(
            &mut assembler,
            &timelines,
            23,
            &[(Kind::Start, &spans, None)],
            None,
        );
    }

    #[test]
    fn traces_have_ids_of_their_own() {
        let id = |began: i64| {
            let (mut timelines, mut assembler) = (Timelines::default(), Assembler::default());
            record(&mut timelines, began, &START);
            assembler.assemble(&timelines, at(1000)).traces[0].id
        };
        assert_eq!(id(1), id(1));
        assert_ne!(id(1), id(2));
    }
}
