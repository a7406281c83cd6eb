//! `/pods`, `/node`, `/events`, `/problems`, `/warnings`, `/configz`: published values in Kubernetes' own JSON.

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::Uri;
use fnv::FnvHasher;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Serialize};

use super::answer::Refusal;
use super::problem::ProblemList;
use super::world::Served;
use crate::model::event::RecordedEvent;
use crate::model::pod::PodName;

/// A list in Kubernetes' format. A separate struct, because the items are shared and cannot be moved.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct List<T> {
    kind: &'static str,
    api_version: &'static str,
    metadata: serde_json::Map<String, serde_json::Value>,
    items: Vec<T>,
}

impl<T> List<T> {
    fn new(kind: &'static str, items: Vec<T>) -> Self {
        List {
            kind,
            api_version: "v1",
            metadata: serde_json::Map::new(),
            items,
        }
    }
}

/// Which events are requested.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    namespace: Option<String>,
    name: Option<String>,
}

pub(crate) async fn pods(State(served): State<Served>) -> Json<List<Shared<Pod>>> {
    let report = served.world.pods.borrow().clone();
    Json(List::new(
        "PodList",
        report.pods.values().map(|pod| Shared(pod.clone())).collect(),
    ))
}

/// A shared value that serializes as its content (serde does so for `Arc` only with a feature that would affect the
/// whole build).
#[derive(Debug)]
pub(crate) struct Shared<T>(Arc<T>);

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

pub(crate) async fn pod(
    State(served): State<Served>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<Shared<Pod>>, Refusal> {
    Ok(Json(Shared(find(&served, namespace, name)?.1)))
}

/// The pod of that name with its currently reported status.
pub(crate) fn find(served: &Served, namespace: String, name: String) -> Result<(PodName, Arc<Pod>), Refusal> {
    let key = PodName::new(namespace, name);
    let report = served.world.pods.borrow();
    match report.pods.get(&key) {
        Some(pod) => Ok((key, pod.clone())),
        None => Err(Refusal::no_pod(&key.name)),
    }
}

pub(crate) async fn node(State(served): State<Served>) -> Json<Shared<Node>> {
    Json(Shared(served.world.node.borrow().clone()))
}

pub(crate) async fn problems(State(served): State<Served>) -> Json<ProblemList> {
    Json(ProblemList::of(&served.world.pods.borrow().problems))
}

pub(crate) async fn warnings(State(served): State<Served>) -> Json<ProblemList> {
    Json(ProblemList::warnings(&served.world.pods.borrow().warnings))
}

pub(crate) async fn configz(State(served): State<Served>) -> Json<Shared<serde_json::Value>> {
    Json(Shared(served.world.configz.clone()))
}

pub(crate) async fn unknown(uri: Uri) -> Refusal {
    Refusal::NotFound(format!("the agent does not serve {}", uri.path()))
}

pub(crate) async fn events(
    State(served): State<Served>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Json<List<Event>>, Refusal> {
    let Query(wanted) = query.map_err(|error| Refusal::BadRequest(error.body_text()))?;
    let matches = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
    let host = served.world.node.borrow().metadata.name.clone();
    let report = served.world.pods.borrow();
    let items = report
        .events
        .iter()
        .filter(|(pod, _)| matches(&wanted.namespace, &pod.namespace) && matches(&wanted.name, &pod.name))
        .flat_map(|(pod, events)| {
            events
                .iter()
                .map(|event| event_object(pod, event, host.as_deref()))
        })
        .collect();
    Ok(Json(List::new("EventList", items)))
}

/// The event as an object. Its component is `kubelet`, as in the kubelet's own events: programs select by it.
pub(crate) fn event_object(pod: &PodName, event: &RecordedEvent, host: Option<&str>) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(event_name(pod, event)),
            creation_timestamp: Some(seconds(event.first)),
            namespace: Some(pod.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name.clone()),
            namespace: Some(pod.namespace.clone()),
            uid: Some(event.uid.0.clone()),
            field_path: event.what.field_path.clone(),
            ..ObjectReference::default()
        },
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

/// The kubelet's form, the pod and the time. Several may begin at the same time, so that what happened is in it, too.
fn event_name(pod: &PodName, event: &RecordedEvent) -> String {
    let mut content = FnvHasher::default();
    (&event.uid.0, &event.what.reason).hash(&mut content);
    (&event.what.message, &event.what.field_path).hash(&mut content);
    let first = event.first.as_nanosecond();
    format!("{}.{first:x}{:016x}", pod.name, content.finish())
}

/// Kubernetes' `Time` has whole seconds.
fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}
