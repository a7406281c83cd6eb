//! Answers `/metrics`.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::serve::world::Served;

pub(crate) async fn answer(State(served): State<Served>) -> Response {
    let world = &served.world;
    let node = world.node.borrow().clone();
    let page = world.metrics.page(
        &node,
        world.pods.borrow().clone(),
        world.snapshot.borrow().clone(),
    );
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, page).into_response()
}
