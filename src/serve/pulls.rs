//! `GET /pulls`: the images that are being pulled for pods.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::world::Served;
use crate::model::image_progress::Progress;

/// The pulls of the node for its pods.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PullList {
    /// In the order of their beginnings.
    pub items: Vec<ListedPull>,
}

/// A pull for a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedPull {
    /// The pod's UID.
    pub pod_uid: String,
    /// The image, as the manifest writes it.
    pub image: String,
    /// When it began, or began to wait for its turn.
    pub since: Timestamp,
    /// How far it has come.
    pub progress: Progress,
}

pub(crate) async fn list(State(served): State<Served>) -> Json<PullList> {
    let pulls = served.world.pulls.borrow().clone();
    let listed = pulls.of_pods.into_values().map(|pull| ListedPull {
        pod_uid: pull.uid.0,
        image: pull.image,
        since: pull.since,
        progress: pull.progress,
    });
    Json(PullList {
        items: listed.collect(),
    })
}
