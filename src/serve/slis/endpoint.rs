//! Answers `/metrics/slis`.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::results::Results;
use crate::serve::world::Served;

pub(crate) async fn answer(State(served): State<Served>) -> Response {
    let started = served.world.offered.program.started.as_second();
    let page = served.world.health.results().page(started);
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
    )];
    (kind, page).into_response()
}

/// DELETE forgets what was counted.
pub(crate) async fn reset(State(served): State<Served>) -> &'static str {
    *served.world.health.results() = Results::default();
    "metrics reset\n"
}
