//! `/events?watch=true` of the agent's socket: the recent events of pods, then each as it happens, one JSON object a line.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use k8s_openapi::api::core::v1::Event;

use super::objects::event_object;
use super::world::Served;
use crate::model::event::RecordedEvent;
use crate::model::pod::PodName;

/// Recent events by pod; unchanged lists keep their `Arc`.
type Recent = BTreeMap<PodName, Arc<Vec<RecordedEvent>>>;

/// Streams the events that `wants`, until the client leaves or the agent stops.
pub(super) fn watch(served: Served, wants: impl Fn(&PodName) -> bool + Send + 'static) -> Response {
    let state = Watch {
        seen: Recent::new(),
        waiting: VecDeque::new(),
        is_first: true,
        served,
        wants,
    };
    let lines = stream::unfold(state, |mut state| async move {
        let line = state.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), state))
    });
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, Body::from_stream(lines)).into_response()
}

struct Watch<W> {
    /// What was sent.
    seen: Recent,
    /// What is still to be sent.
    waiting: VecDeque<Event>,
    is_first: bool,
    served: Served,
    wants: W,
}

impl<W: Fn(&PodName) -> bool> Watch<W> {
    async fn next(&mut self) -> Option<Bytes> {
        while self.waiting.is_empty() {
            if !std::mem::take(&mut self.is_first) {
                tokio::select! {
                    // Cancel-safe: a change stays seen by the receiver only once it is awaited to its end.
                    changed = self.served.world.pods.changed() => changed.ok()?,
                    () = self.served.stopping.cancelled() => return None,
                }
            }
            let recent = self.served.world.pods.borrow_and_update().events.clone();
            let host = self.served.world.node.borrow().metadata.name.clone();
            let mut new = news(&self.seen, &recent, &self.wants);
            new.sort_by_key(|(_, event)| event.last);
            let objects = new
                .iter()
                .map(|(pod, event)| event_object(pod, event, host.as_deref()));
            self.waiting.extend(objects);
            self.seen = recent;
        }
        let event = self.waiting.pop_front()?;
        let mut line = serde_json::to_vec(&event).expect("Kubernetes objects serialize to JSON");
        line.push(b'\n');
        Some(line.into())
    }
}

/// The events that are new, or that have happened again. Pure.
fn news<'a>(
    before: &Recent,
    now: &'a Recent,
    wants: impl Fn(&PodName) -> bool,
) -> Vec<(&'a PodName, &'a RecordedEvent)> {
    let mut new = Vec::new();
    for (pod, events) in now {
        let old = before.get(pod);
        if old.is_some_and(|old| Arc::ptr_eq(old, events)) || !wants(pod) {
            continue;
        }
        let is_known = |event: &RecordedEvent| old.is_some_and(|old| old.contains(event));
        new.extend(
            events
                .iter()
                .filter(|event| !is_known(event))
                .map(|event| (pod, event)),
        );
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{EventType, PodEvent};
    use crate::model::pod::PodUid;

    fn event(reason: &str, count: u32) -> RecordedEvent {
        RecordedEvent {
            uid: PodUid("u1".to_owned()),
            what: PodEvent {
                kind: EventType::Normal,
                reason: reason.to_owned(),
                message: String::new(),
                field_path: None,
            },
            first: "2026-11-29T00:00:00Z".parse().unwrap(),
            last: format!("2026-11-29T00:00:{count:02}Z").parse().unwrap(),
            count,
        }
    }

    fn recent(events: &[(&str, &[(&str, u32)])]) -> Recent {
        let list = |events: &[(&str, u32)]| {
            Arc::new(
                events
                    .iter()
                    .map(|(reason, count)| event(reason, *count))
                    .collect(),
            )
        };
        events
            .iter()
            .map(|(pod, events)| (PodName::new("default", *pod), list(events)))
            .collect()
    }

    #[test]
    fn an_event_is_new_once_for_each_time_it_happens() {
        let check = |before: &Recent, now: &Recent, expected: &[(&str, &str, u32)]| {
            let found = news(before, now, |pod| pod.name != "other");
            let found: Vec<_> = found
                .iter()
                .map(|(pod, event)| (pod.name.as_str(), event.what.reason.as_str(), event.count))
                .collect();
            assert_eq!(found, expected);
        };
        let first = recent(&[
            ("other", &[("Pulled", 1)]),
            ("web", &[("Pulled", 1), ("Started", 1)]),
        ]);
        check(
            &Recent::new(),
            &first,
            &[("web", "Pulled", 1), ("web", "Started", 1)],
        );
        check(&first, &first, &[]);
        let second = recent(&[
            ("db", &[("Pulled", 1)]),
            ("web", &[("Pulled", 2), ("Started", 1)]),
        ]);
        check(&first, &second, &[("db", "Pulled", 1), ("web", "Pulled", 2)]);
        // Events that have left the list are no news.
        check(&second, &recent(&[("web", &[("Started", 1)])]), &[]);
    }
}
