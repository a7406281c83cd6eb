//! `POST /images/prune`: the removal of all images that may be removed, with `?ended=true` also of the containers of pods
//! that have ended. It goes on if the client leaves.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::wire::{NotPruned, Pruned, PrunedImage};
use crate::model::collection::{Collected, UnusedImage};
use crate::model::image_work::NotDone;
use crate::serve::answer::Refusal;
use crate::serve::world::Served;

/// What is removed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PruneQuery {
    /// Whether the containers of pods that have ended are, before the images.
    #[serde(default)]
    ended: bool,
}

pub(crate) async fn prune(
    State(served): State<Served>,
    query: Result<Query<PruneQuery>, QueryRejection>,
) -> Result<Json<Pruned>, Refusal> {
    let Query(PruneQuery { ended }) = query.map_err(|error| Refusal::BadRequest(error.body_text()))?;
    // A runtime that does not answer is named at once.
    let asked = served.world.runtime.list_images().await;
    asked.map_err(|error| {
        Refusal::Internal(format!(
            "the container runtime does not list its images: {error}; `gantry doctor` checks it"
        ))
    })?;
    let images = &served.world.images;
    let work = async {
        match ended {
            true => images.reclaim().await,
            false => images.prune().await,
        }
    };
    let pruned = tokio::select! {
        pruned = work => pruned,
        () = served.stopping.cancelled() => Err(NotDone::Stopping),
    };
    let collected = pruned.map_err(|error| Refusal::Internal(error.to_string()))?;
    Ok(Json(pruned_images(collected)))
}

fn pruned_images(collected: Collected) -> Pruned {
    let image = |image: UnusedImage| PrunedImage {
        id: image.id,
        names: image.names,
        size: image.size,
    };
    let failed = collected
        .failures
        .into_iter()
        .map(|(not_removed, why)| NotPruned {
            image: image(not_removed),
            why,
        });
    Pruned {
        failed: failed.collect(),
        removed: collected.images.into_iter().map(image).collect(),
        bytes: collected.bytes,
    }
}
