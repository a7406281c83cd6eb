//! `/statusz`: since when the program runs, and what it is.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;

use super::answer::answer as respond;
use crate::serve::answer::not_found;
use crate::serve::world::Served;

pub(crate) async fn answer(State(served): State<Served>, headers: HeaderMap) -> Response {
    if !served.world.offered.statusz {
        return not_found();
    }
    let program = &served.world.offered.program;
    let now = Timestamp::now();
    let object = |version| program.object(version, now);
    respond(&headers, "Statusz", object, || program.text(now))
}
