//! The events of loop 2: caused by executions, probes and waiting, queued for each pod and passed on once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::Loop;
use crate::model::bounds;
use crate::model::event::{About, Event, EventType, PodEvent, RecordedEvent};
use crate::model::memory::{Executed, Memory};
use crate::model::outcome::StepStarted;
use crate::model::pod::{Pod, PodName, PodUid, Problem};
use crate::model::reason;
use crate::model::report::PodsReport;
use crate::model::runtime::{ObservedName, Snapshot};
use crate::status::{end_events, events, node_events};

/// Events queued for one pod, and for the node; the oldest are dropped first.
const EVENTS_OF_EACH: usize = 50;
/// The longest event message that an API server accepts (`pkg/apis/core/validation/events.go`).
const EVENT_MESSAGE: usize = 1024;

impl Loop {
    /// Queues the events of one pod's failed probes.
    pub(super) fn emit_probe_events(&mut self, name: &PodName, before: &Snapshot, now: Timestamp) -> bool {
        let (Some(pod), Some(observed)) = (self.shown.get(name).cloned(), self.snapshot.pods.get(name))
        else {
            return false;
        };
        let former = before.pods.get(name).map(AsRef::as_ref);
        let new = events::complaints(&pod, former, observed);
        self.queue_events(name, &pod.uid, new, now)
    }

    /// Queues the event that a pod waits for the runtime's network, once for each reason.
    pub(super) fn emit_network_events(&mut self, name: &PodName, now: Timestamp) -> bool {
        let before = self.offline.remove(name);
        let (Some(pod), Some(object)) = (self.shown.get(name), self.report.pods.get(name)) else {
            return false;
        };
        let (nothing, runtime) = (ObservedName::default(), &self.snapshot.runtime);
        let observed = self.snapshot.pods.get(name).map_or(&nothing, AsRef::as_ref);
        let status = object.status.as_ref();
        let event = status.and_then(|status| events::network_not_ready(pod, status, observed, runtime));
        // Until everything is listed, a pod may have a sandbox that is not known yet.
        let Some(event) = event.filter(|_| self.snapshot.listed && self.desired.get(name).is_some()) else {
            return false;
        };
        let uid = pod.uid.clone();
        let new = (uid.clone(), event.message.clone());
        let is_reported = before.as_ref() == Some(&new);
        self.offline.insert(name.clone(), new);
        !is_reported && self.queue_events(name, &uid, vec![event], now)
    }

    /// Emits an event with the reason for each newly rejected API pod, so that its owner sees it.
    pub(super) fn emit_rejections(&self, before: &[Problem], at: Timestamp) {
        let before: BTreeSet<&Problem> = before.iter().collect();
        let set = self.desired.api.iter();
        let new = set
            .flat_map(|set| &set.problems)
            .filter(|problem| !before.contains(problem));
        for problem in new {
            let uid = |name: &PodName| {
                let unsupported = self.desired.unsupported(name).cloned();
                unsupported.or_else(|| Some(self.desired.get(name)?.uid.clone()))
            };
            let Some((name, uid)) = problem.pod.as_ref().and_then(|name| Some((name, uid(name)?))) else {
                continue;
            };
            let message = format!("Pod is not run by gantry: {}: {}", problem.field, problem.message);
            // Without an API server there is no receiver.
            let _ = self.events.send(Event {
                about: About::Pod(name.clone(), uid, None),
                kind: EventType::Warning,
                reason: reason::pod::FAILED_VALIDATION.to_owned(),
                message: bounds::shortened(message, EVENT_MESSAGE),
                annotations: BTreeMap::new(),
                at,
            });
        }
    }

    /// Queues the event that something starts.
    pub(super) fn take_begun(&mut self, beginning: &StepStarted) -> bool {
        let Some(pod) = self.known(&beginning.pod) else {
            return false;
        };
        let new = events::begun(&pod, beginning);
        self.queue_events(&pod.name, &beginning.uid, new, beginning.at)
    }

    /// Queues the event that a pod has to make room.
    pub(super) fn emit_making_room(&mut self, name: &PodName, before: &Memory, now: Timestamp) -> bool {
        let [before, after] = [before, &*self.memory].map(|memory| memory.pods.get(name));
        let (Some(pod), Some(after)) = (self.known(name), after) else {
            return false;
        };
        let nothing = ObservedName::default();
        let observed = self.snapshot.pods.get(name).map_or(&nothing, AsRef::as_ref);
        let new = end_events::making_room(&pod, before.map(AsRef::as_ref), after, observed);
        if new.is_some() {
            let late_from = end_events::is_late_from(&pod, after, now);
            self.late.insert(name.clone(), (pod.uid.clone(), late_from));
        }
        self.queue_events(name, &pod.uid, new.into_iter().collect(), now)
    }

    /// The desired pod of that name, or else the reported one.
    pub(super) fn known(&self, name: &PodName) -> Option<Arc<Pod>> {
        self.desired.get(name).or_else(|| self.shown.get(name)).cloned()
    }

    /// Records the steps of an execution, and queues the events that it causes.
    pub(super) fn take_executed(&mut self, executed: &Executed) -> bool {
        self.count_executed(executed);
        let Executed { outcome, after } = executed;
        let recorded = self.record_steps(outcome);
        let Some(pod) = self.known(&outcome.pod) else {
            return recorded;
        };
        let objects = self.desired.objects(&pod.source);
        let unretrieved = objects.and_then(|objects| events::unretrieved(&pod, outcome, objects));
        let mut new: Vec<_> = unretrieved.into_iter().collect();
        new.extend(events::events(&pod, outcome, Some(after)));
        self.queue_events(&pod.name, &outcome.uid, new, outcome.at) || recorded
    }

    /// Adds to the events of a running static pod why another manifest of its name, or a newer version of its own, is
    /// rejected.
    pub(super) fn report_refused_manifests(&mut self, before: &[Problem], at: Timestamp) {
        let before: BTreeSet<&Problem> = before.iter().collect();
        let Some(files) = self.desired.files.clone() else {
            return;
        };
        let new = files.problems.iter().filter(|problem| !before.contains(problem));
        for problem in new {
            let Some(pod) = problem.pod.as_ref().and_then(|name| files.pods.get(name)) else {
                continue;
            };
            let message = bounds::shortened(format!("Manifest is not run: {problem}"), EVENT_MESSAGE);
            let event = PodEvent {
                kind: EventType::Warning,
                reason: reason::pod::FAILED_VALIDATION.to_owned(),
                message,
                field_path: None,
                annotations: BTreeMap::new(),
            };
            self.queue_events(&pod.name, &pod.uid, vec![event], at);
        }
    }

    /// Adds events of a pod, counting equal ones together; returns whether there were any.
    pub(super) fn queue_events(
        &mut self,
        name: &PodName,
        uid: &PodUid,
        new: Vec<PodEvent>,
        at: Timestamp,
    ) -> bool {
        if new.is_empty() {
            return false;
        }
        let events = self.events.clone();
        let kept = Arc::make_mut(self.report.events.entry(name.clone()).or_default());
        for event in new {
            // Without an API server there is no receiver.
            let _ = events.send(Event {
                about: About::Pod(name.clone(), uid.clone(), event.field_path.clone()),
                kind: event.kind,
                reason: event.reason.clone(),
                message: event.message.clone(),
                annotations: event.annotations.clone(),
                at,
            });
            let recorded = RecordedEvent {
                uid: uid.clone(),
                what: event,
                first: at,
                last: at,
                count: 1,
            };
            queue_event(kept, recorded);
        }
        true
    }

    /// Adds events of the node.
    pub(super) fn emit_node_events(
        &mut self,
        new: impl IntoIterator<Item = node_events::NodeEvent>,
        at: Timestamp,
    ) {
        for event in new {
            // Without an API server there is no receiver.
            let _ = self.events.send(Event {
                about: About::Node,
                kind: event.kind,
                reason: event.reason.to_owned(),
                message: event.message.clone(),
                annotations: BTreeMap::new(),
                at,
            });
            let recorded = RecordedEvent {
                uid: PodUid(self.facts.settings.name.clone()),
                what: PodEvent {
                    kind: event.kind,
                    reason: event.reason.to_owned(),
                    message: event.message,
                    field_path: None,
                    annotations: BTreeMap::new(),
                },
                first: at,
                last: at,
                count: 1,
            };
            queue_event(Arc::make_mut(&mut self.report.node_events), recorded);
        }
    }

    /// Whether there are events of the node that this report does not have.
    pub(super) fn has_node_events(&self, published: &PodsReport) -> bool {
        !Arc::ptr_eq(&self.report.node_events, &published.node_events)
    }
}

/// Adds an event, or counts it if an equal one is queued.
fn queue_event(kept: &mut Vec<RecordedEvent>, event: RecordedEvent) {
    let same = |old: &RecordedEvent| (&old.uid, &old.what) == (&event.uid, &event.what);
    if let Some(place) = kept.iter().position(same) {
        let old = kept.remove(place);
        kept.push(RecordedEvent {
            last: event.last,
            count: old.count.saturating_add(1),
            ..old
        });
    } else {
        kept.push(event);
    }
    if kept.len() > EVENTS_OF_EACH {
        kept.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::PodUid;

    fn event(message: &str, second: i64) -> RecordedEvent {
        let at = Timestamp::from_second(second).unwrap();
        RecordedEvent {
            uid: PodUid("u".to_owned()),
            what: PodEvent {
                kind: EventType::Normal,
                reason: "Started".to_owned(),
                message: message.to_owned(),
                field_path: None,
                annotations: Default::default(),
            },
            first: at,
            last: at,
            count: 1,
        }
    }

    #[test]
    fn equal_events_are_counted_and_move_to_the_end() {
        let mut kept = Vec::new();
        for (message, second) in [("a", 1), ("b", 2), ("a", 3)] {
            queue_event(&mut kept, event(message, second));
        }
        let queued: Vec<_> = kept
            .iter()
            .map(|e| {
                (
                    e.what.message.as_str(),
                    e.count,
                    e.first.as_second(),
                    e.last.as_second(),
                )
            })
            .collect();
        assert_eq!(queued, [("b", 1, 2, 2), ("a", 2, 1, 3)]);
    }

    #[test]
    fn the_oldest_events_go_first() {
        let mut kept = Vec::new();
        for n in 0..60 {
            queue_event(&mut kept, event(&n.to_string(), n));
        }
        assert_eq!(
            (kept.len(), kept[0].what.message.as_str()),
            (EVENTS_OF_EACH, "10")
        );
    }
}
