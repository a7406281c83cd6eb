//! Answers `/volumes`; with `usage=true` also what the volumes hold that were measured.

use axum::Json;
use axum::extract::{RawQuery, State};

use super::wire::VolumeList;
use super::{found, rows};
use crate::serve::answer::Refusal;
use crate::serve::query::values;
use crate::serve::world::Served;

pub(in crate::serve) async fn answer(
    State(served): State<Served>,
    RawQuery(query): RawQuery,
) -> Result<Json<VolumeList>, Refusal> {
    let world = &served.world;
    let usages = match wants_usage(query.as_deref().unwrap_or_default())? {
        true => world.mounted.get().await.ok(),
        false => None,
    };
    let root = world.volumes.root.clone();
    let found = tokio::task::spawn_blocking(move || found::find(&root)).await;
    let found = found.map_err(|_| Refusal::Internal("cannot look at the pods' directories".to_owned()))?;
    let report = world.pods.borrow().clone();
    let desired = world.desired.borrow().clone();
    let memory = world.volumes.memory.borrow().clone();
    let work = world.volumes.work.borrow().clone();
    Ok(Json(rows::list(&rows::Known {
        root: &world.volumes.root,
        report: &report,
        desired: &desired,
        memory: &memory,
        work: &work,
        found: &found,
        usages: usages.as_deref(),
    })))
}

fn wants_usage(query: &str) -> Result<bool, Refusal> {
    let Some(given) = values(query, "usage").next() else {
        return Ok(false);
    };
    given
        .parse()
        .map_err(|_| Refusal::BadRequest(format!("usage={given}: must be true or false")))
}
