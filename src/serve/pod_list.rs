//! `/pods` of the node API: the reported pods as the kubelet encodes them (`encodePods` in
//! `pkg/kubelet/server/server.go`). Its items, as those of any list of the API, have neither `kind` nor `apiVersion`; the
//! list of the agent's socket keeps both, because `gantry get` reads each item as an object.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use serde::Serialize;

use super::world::Served;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PodList<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: ListMeta,
    items: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    metadata: &'a ObjectMeta,
    spec: &'a Option<PodSpec>,
    status: &'a Option<PodStatus>,
}

pub(crate) async fn answer(State(served): State<Served>) -> Response {
    let report = served.world.pods.borrow().clone();
    encoded(report.pods.values().map(AsRef::as_ref))
}

/// The response with these pods.
pub(super) fn encoded<'a>(pods: impl Iterator<Item = &'a Pod>) -> Response {
    let items = pods.map(|pod| Item {
        metadata: &pod.metadata,
        spec: &pod.spec,
        status: &pod.status,
    });
    let list = PodList {
        kind: "PodList",
        api_version: "v1",
        metadata: ListMeta::default(),
        items: items.collect(),
    };
    Json(list).into_response()
}
