//! Answers `/metrics/slis`.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::results::Results;
use crate::serve::metrics::Format;
use crate::serve::world::Served;

pub(crate) async fn answer(State(served): State<Served>) -> Response {
    let started = served.world.offered.program.started.as_second();
    let page = served.world.health.results().page(started);
    let kind = Format::Text.content_type();
    ([(header::CONTENT_TYPE, kind)], page).into_response()
}

/// DELETE forgets what was counted.
pub(crate) async fn reset(State(served): State<Served>) -> &'static str {
    *served.world.health.results() = Results::default();
    "metrics reset\n"
}
