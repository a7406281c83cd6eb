//! `/events` of the agent's socket: the recent events of pods in Kubernetes' own JSON; with `?watch=true` then each as it
//! happens, one object a line.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fnv::FnvHasher;
use futures::stream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;

use super::answer::Refusal;
use super::objects::List;
use super::world::Served;
use crate::model::event::RecordedEvent;
use crate::model::pod::PodName;

/// Which events are requested.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    namespace: Option<String>,
    name: Option<String>,
    #[serde(default)]
    watch: bool,
}

pub(crate) async fn events(
    State(served): State<Served>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(wanted) = query.map_err(|error| Refusal::BadRequest(error.body_text()))?;
    let is_watch = wanted.watch;
    let matches = move |pod: &PodName| {
        let is = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        is(&wanted.namespace, &pod.namespace) && is(&wanted.name, &pod.name)
    };
    if is_watch {
        return Ok(watch(served, matches));
    }
    let host = served.world.node.borrow().metadata.name.clone();
    let report = served.world.pods.borrow();
    let items = report
        .events
        .iter()
        .filter(|(pod, _)| matches(pod))
        .flat_map(|(pod, events)| {
            events
                .iter()
                .map(|event| event_object(pod, event, host.as_deref()))
        })
        .collect();
    Ok(Json(List::new("EventList", items)).into_response())
}

/// The event of a pod as an object.
pub(crate) fn event_object(pod: &PodName, event: &RecordedEvent, host: Option<&str>) -> Event {
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(pod.name.clone()),
        namespace: Some(pod.namespace.clone()),
        uid: Some(event.uid.0.clone()),
        field_path: event.what.field_path.clone(),
        ..ObjectReference::default()
    };
    object((&pod.namespace, &pod.name), about, event, host)
}

/// The event of the node as an object. Its UID is the node's name, as in the kubelet's own events.
pub(crate) fn node_event_object(event: &RecordedEvent, node: &str) -> Event {
    let about = ObjectReference {
        kind: Some("Node".to_owned()),
        name: Some(node.to_owned()),
        uid: Some(node.to_owned()),
        ..ObjectReference::default()
    };
    object(("default", node), about, event, Some(node))
}

/// Its component is `kubelet`, as in the kubelet's own events: programs select by it.
fn object(
    (namespace, name): (&str, &str),
    about: ObjectReference,
    event: &RecordedEvent,
    host: Option<&str>,
) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(event_name(name, event)),
            creation_timestamp: Some(seconds(event.first)),
            namespace: Some(namespace.to_owned()),
            annotations: (!event.what.annotations.is_empty()).then(|| event.what.annotations.clone()),
            ..ObjectMeta::default()
        },
        involved_object: about,
        type_: Some(event.what.kind.as_str().to_owned()),
        reason: Some(event.what.reason.clone()),
        message: Some(event.what.message.clone()),
        count: Some(i32::try_from(event.count).unwrap_or(i32::MAX)),
        first_timestamp: Some(seconds(event.first)),
        last_timestamp: Some(seconds(event.last)),
        source: Some(EventSource {
            component: Some("kubelet".to_owned()),
            host: host.map(str::to_owned),
        }),
        reporting_component: Some("kubelet".to_owned()),
        reporting_instance: host.map(str::to_owned),
        ..Event::default()
    }
}

/// The kubelet's form, the object's name and the time. Several may begin at the same time, so that what happened is in it, too.
fn event_name(name: &str, event: &RecordedEvent) -> String {
    let mut content = FnvHasher::default();
    (&event.uid.0, &event.what.reason).hash(&mut content);
    (&event.what.message, &event.what.field_path).hash(&mut content);
    let first = event.first.as_nanosecond();
    format!("{name}.{first:x}{:016x}", content.finish())
}

/// Kubernetes' `Time` has whole seconds.
fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// Recent events by pod; unchanged lists keep their `Arc`.
type Recent = BTreeMap<PodName, Arc<Vec<RecordedEvent>>>;

/// Streams the events that `wants`, until the client leaves or the agent stops.
fn watch(served: Served, wants: impl Fn(&PodName) -> bool + Send + 'static) -> Response {
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
                annotations: Default::default(),
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
