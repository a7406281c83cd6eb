//! `/pods`, `/node`, `/problems`, `/warnings`, `/configz`: published values in Kubernetes' own JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Serialize;

use super::answer::Refusal;
use super::problem::ProblemList;
use super::world::Served;
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
    pub(super) fn new(kind: &'static str, items: Vec<T>) -> Self {
        List {
            kind,
            api_version: "v1",
            metadata: serde_json::Map::new(),
            items,
        }
    }
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
