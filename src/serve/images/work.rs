//! `POST /images/pull?image=NAME` and `POST /images/import`, whose body is the archive. The connection is the request: a
//! client that closes it cancels what it asked for.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use tokio::sync::watch;

use super::lines::answer;
use super::upload::parts;
use crate::model::image_progress::Progress;
use crate::model::image_ref::ImageRef;
use crate::serve::answer::Refusal;
use crate::serve::world::Served;

/// What is pulled.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PullQuery {
    image: String,
}

pub(crate) async fn pull(
    State(served): State<Served>,
    query: Result<Query<PullQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(PullQuery { image }) = query.map_err(|error| Refusal::BadRequest(error.body_text()))?;
    ImageRef::parse(&image)
        .map_err(|wrong| Refusal::BadRequest(format!("{image:?} is not an image name: {wrong}")))?;
    let (progress, reached) = watch::channel(Progress::default());
    let images = served.world.images.clone();
    let work = async move { Ok(vec![images.pull(image, progress).await?]) };
    Ok(answer(reached, work, served.stopping))
}

/// What is imported.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportQuery {
    /// The size of the archive in bytes, if the client knows.
    size: Option<u64>,
}

pub(crate) async fn import(
    State(served): State<Served>,
    query: Result<Query<ImportQuery>, QueryRejection>,
    body: Body,
) -> Result<Response, Refusal> {
    let Query(ImportQuery { size }) = query.map_err(|error| Refusal::BadRequest(error.body_text()))?;
    let (progress, reached) = watch::channel(Progress::default());
    let images = served.world.images.clone();
    let archive = parts(body);
    let work = async move { images.import(archive, size, progress).await };
    Ok(answer(reached, work, served.stopping))
}
