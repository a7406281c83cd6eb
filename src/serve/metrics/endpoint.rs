//! Answers `/metrics` and its kin.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::agent::process::ProcessStats;
use super::agent::{self, Now};
use super::exposition::{Format, negotiate};
use super::{cadvisor, probes, resource};
use crate::serve::world::Served;
use crate::stats::{Depth, HOUSEKEEPING, Stopped};

/// `/metrics`
pub(crate) async fn answer(State(served): State<Served>, headers: HeaderMap) -> Response {
    let world = &served.world;
    // While the agent stops, the rest of the page is still true.
    let mounted = world.mounted.get().await.unwrap_or_default();
    let now = Now {
        node: world.node.borrow().clone(),
        report: world.pods.borrow().clone(),
        snapshot: world.snapshot.borrow().clone(),
        desired: world.desired.borrow().clone(),
        mounted,
        process: ProcessStats::read(),
        kubernetes_version: world.offered.program.kubernetes_version.clone(),
        gates: world.offered.gates.clone(),
        at: Timestamp::now(),
    };
    let format = wanted(&headers);
    written(format, agent::page(format, &now, &world.metrics))
}

/// `/metrics/probes`
pub(crate) async fn answer_probes(State(served): State<Served>, headers: HeaderMap) -> Response {
    let format = wanted(&headers);
    let process = ProcessStats::read();
    let page = probes::page(format, &served.world.metrics.probes, process.as_ref());
    written(format, page)
}

/// `/metrics/resource`
pub(crate) async fn answer_resource(State(served): State<Served>, headers: HeaderMap) -> Response {
    let format = wanted(&headers);
    match served.world.stats.sample(HOUSEKEEPING, Depth::Counters).await {
        Ok(sample) => written(format, resource::page(format, sample.as_deref())),
        Err(stopped) => unavailable(&stopped),
    }
}

/// `/metrics/cadvisor`
pub(crate) async fn answer_cadvisor(State(served): State<Served>, headers: HeaderMap) -> Response {
    let format = wanted(&headers);
    match served.world.stats.sample(HOUSEKEEPING, Depth::Processes).await {
        Ok(sample) => written(
            format,
            cadvisor::page(format, sample.as_deref(), Timestamp::now()),
        ),
        Err(stopped) => unavailable(&stopped),
    }
}

fn unavailable(stopped: &Stopped) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, stopped.to_string()).into_response()
}

/// The format that the client wants.
fn wanted(headers: &HeaderMap) -> Format {
    let accept = headers.get_all(header::ACCEPT).iter();
    let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
    negotiate(&accept.join(","))
}

fn written(format: Format, page: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, format.content_type())], page).into_response()
}
