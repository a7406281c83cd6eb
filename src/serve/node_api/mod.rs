//! The kubelet's own API, on the node's port (10250): the API server requests logs, monitoring requests metrics. Every
//! request must pass authentication and authorization first.

mod any_certificate;
mod caller;
mod connection;
mod container_logs;
mod counted;
mod auth;
mod offer;
mod permission;
mod plain;
mod serving_certificate;
mod ttl_cache;

use std::future::Future;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use auth::Rules;
pub use serving_certificate::{Files, ServingCertificate, TlsError};

use super::answer::not_found;
use super::debug::endpoint as debug;
use super::port::{Bounds, Plain, Port};
use super::world::{FAREWELL, Served, World};
use super::{
    attach, checkpoint, exec, health, metrics, objects, pod_list, port_forward, running_pods, slis, stats,
    system_logs, zpages,
};
use crate::counters::ServerType;
use auth::Auth;
use connection::Tls;

/// Paths that the kubelet serves, too, but this version does not.
const LATER: [&str; 1] = ["/cri"];

/// Paths that `enableDebuggingHandlers: false` disables.
const DEBUGGING: [&str; 8] = [
    "/attach/",
    "/containerLogs/",
    "/debug/pprof/",
    "/exec/",
    "/logs/",
    "/portForward/",
    "/run/",
    "/runningpods/",
];

/// Serves until `shutdown` completes; then pending responses get two seconds to finish.
pub async fn run(
    listener: TcpListener,
    files: Files,
    (rules, clients): (Rules, watch::Receiver<kube::Client>),
    world: World,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), TlsError> {
    let port = Port {
        name: "node API",
        listener,
        bounds: Bounds::AUTHENTICATED,
        transport: Tls::new(files)?,
    };
    let stopping = CancellationToken::new();
    let debugging = rules.debugging;
    let served = Served::new(world, stopping.clone());
    let sessions = served.sessions.clone();
    let auth = Auth::new(rules, clients, served.world.metrics.clone());
    let router = router(served, auth, debugging);
    let stop = stopping.clone();
    let stopped = async move {
        shutdown.await;
        stop.cancel();
    };
    tokio::join!(port.serve(router, stopping, FAREWELL), stopped);
    Served::end_sessions(sessions).await;
    Ok(())
}

/// Serves the read-only port (`readOnlyPort`) until `shutdown` completes: plain HTTP without authentication. It is the
/// administrator's choice; what it answers reads, and nothing of it makes, starts or changes anything.
pub async fn run_read_only(
    listener: TcpListener,
    world: World,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let port = Port {
        name: "read-only",
        listener,
        bounds: Bounds::OPEN,
        transport: Plain,
    };
    let stopping = CancellationToken::new();
    let router = read_only(Served::new(world, stopping.clone()));
    let stop = stopping.clone();
    let stopped = async move {
        shutdown.await;
        stop.cancel();
    };
    tokio::join!(port.serve(router, stopping, FAREWELL), stopped);
}

/// As the kubelet without authentication (`ListenAndServeKubeletReadOnlyServer`), whose debugging handlers are disabled.
fn read_only(served: Served) -> Router {
    let checks = health::router(served.world.health.clone());
    let counters = (served.world.metrics.clone(), ServerType::ReadOnly);
    let router = open().fallback(unknown).with_state(served).merge(checks);
    let router = router.layer(middleware::from_fn(without_debugging));
    router.layer(middleware::from_fn_with_state(counters, counted::count))
}

/// What the read-only port serves, too: nothing new belongs here (`InstallAuthNotRequiredHandlers`).
fn open() -> Router<Served> {
    Router::new()
        .route("/pods", get(pod_list::answer))
        .route("/pods/", get(pod_list::answer))
        .route("/metrics", get(metrics::answer))
        .route("/metrics/cadvisor", get(metrics::answer_cadvisor))
        .route("/metrics/probes", get(metrics::answer_probes))
        .route("/metrics/resource", get(metrics::answer_resource))
        .route("/metrics/slis", get(slis::endpoint::answer))
        .route("/stats/summary", get(stats::answer).post(stats::answer))
}

fn router(served: Served, auth: Auth, debugging: bool) -> Router {
    let checks = health::router(served.world.health.clone());
    let counters = served.world.metrics.clone();
    let served = open()
        .route("/runningpods", get(plain::with_slash))
        .route("/runningpods/", get(running_pods::answer))
        .route("/configz", get(objects::configz))
        .route("/flagz", get(zpages::flagz::answer))
        .route("/statusz", get(zpages::statusz::answer))
        .route("/logs", get(plain::with_slash))
        .route("/stats/", get(plain::no_page))
        .route("/stats/{*path}", get(plain::no_page))
        .route("/logs/", get(system_logs::answer))
        .route("/logs/{*path}", get(system_logs::answer))
        .route("/metrics/slis", delete(slis::endpoint::reset))
        .route(
            "/debug/flags/v",
            any(debug::set_verbosity).layer(DefaultBodyLimit::max(debug::VERBOSITY_BYTES)),
        )
        .route("/debug/pprof", any(debug::profiles))
        .route("/debug/pprof/", any(debug::profiles))
        .route("/debug/pprof/{*profile}", any(debug::profiles))
        .route(
            "/containerLogs/{namespace}/{pod}/{container}",
            get(container_logs::answer),
        )
        .route(
            "/checkpoint/{namespace}/{pod}/{container}",
            post(checkpoint::answer),
        )
        .merge(streams().layer(middleware::from_fn_with_state(
            counters.clone(),
            counted::count_websocket,
        )))
        .fallback(unknown)
        .method_not_allowed_fallback(plain::no_method)
        .with_state(served)
        .merge(checks);
    let served = match debugging {
        true => served,
        false => served.layer(middleware::from_fn(without_debugging)),
    };
    let served = served.layer(middleware::from_fn_with_state(auth, auth::pass));
    let counters = (counters, ServerType::ReadWrite);
    served.layer(middleware::from_fn_with_state(counters, counted::count))
}

/// What runs in containers or connects to them, each with and without the pod's UID.
fn streams() -> Router<Served> {
    let exec = || get(exec::endpoint::answer).post(exec::endpoint::answer);
    let attach = || get(attach::endpoint::answer).post(attach::endpoint::answer);
    let forward = || get(port_forward::endpoint::answer).post(port_forward::endpoint::answer);
    let run = || post(exec::endpoint::run);
    Router::new()
        .route("/exec/{namespace}/{pod}/{container}", exec())
        .route("/exec/{namespace}/{pod}/{uid}/{container}", exec())
        .route("/attach/{namespace}/{pod}/{container}", attach())
        .route("/attach/{namespace}/{pod}/{uid}/{container}", attach())
        .route("/portForward/{namespace}/{pod}", forward())
        .route("/portForward/{namespace}/{pod}/{uid}", forward())
        .route("/run/{namespace}/{pod}/{container}", run())
        .route("/run/{namespace}/{pod}/{uid}/{container}", run())
}

/// Responds as the kubelet does with `enableDebuggingHandlers: false` (`InstallDebuggingDisabledHandlers`).
async fn without_debugging(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    // The kubelet redirects a path without the slash to the one with it.
    let is_below = |prefix: &str| path.starts_with(prefix) || prefix.strip_suffix('/') == Some(path);
    if DEBUGGING.into_iter().any(is_below) {
        return (StatusCode::METHOD_NOT_ALLOWED, "Debug endpoints are disabled.\n").into_response();
    }
    match path {
        "/configz" | "/flagz" | "/statusz" | "/debug/flags/v" => not_found(),
        _ if path.starts_with("/checkpoint/") => not_found(),
        _ => next.run(request).await,
    }
}

async fn unknown(uri: Uri) -> Response {
    let path = uri.path();
    let is_later = LATER.iter().any(|later| {
        path.strip_prefix(later)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    match is_later {
        true => {
            let why = format!("gantry does not serve {path} yet\n");
            (StatusCode::NOT_IMPLEMENTED, why).into_response()
        }
        false => not_found(),
    }
}

#[cfg(test)]
mod tests;
