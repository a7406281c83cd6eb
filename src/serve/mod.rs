//! What the agent serves: health, pods, node, events, logs, exec. It reads values that other modules publish and writes
//! none of them; the only things it starts are the processes of `exec` requests and the connections of `attach` and
//! `portForward`. What it is asked to add to a pod, to pull or to import it passes on.
//!
//! Three listeners: the root-only socket, where everything is served in Kubernetes' own JSON; the loopback port on
//! which the kubelet answers `/healthz`; and, on a node of a cluster, the kubelet's own API with authentication and
//! authorization.

pub mod answer;
mod attach;
mod checkpoint;
pub(crate) mod containers;
mod debug;
mod ephemeral;
mod events;
mod offered;
pub mod exec;
pub mod health;
pub mod images;
pub mod kube;
pub mod logs;
mod metrics;
pub mod node_api;
pub mod objects;
pub mod port;
mod pod_list;
pub mod pulls;
mod port_forward;
pub mod problem;
mod query;
mod running_pods;
mod slis;
pub mod socket;
pub mod stream;
mod system_logs;
mod stats;
pub mod timeline;
pub mod top;
pub mod volumes;
mod world;
mod zpages;

use std::future::Future;
use std::io;

pub use self::checkpoint::Checkpoints;
pub use self::debug::verbosity::Verbosity;
pub use self::offered::Offered;
pub use self::system_logs::SystemLogs;
pub use self::world::World;
pub use self::zpages::Program;

use axum::Router;
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;

use self::world::{FAREWELL, Served};

/// Serves on the socket until `shutdown` completes; then pending responses get two seconds to finish.
pub async fn run(
    socket: socket::Bound,
    world: World,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // This agent holds the socket's lock, so any existing pipes belong to an earlier agent.
    let left = exec::pipes::leftovers(&world.exec_dir)?;
    let exec_dir = world.exec_dir.clone();
    let stopping = CancellationToken::new();
    let served = Served::new(world, stopping.clone());
    let sessions = served.sessions.clone();
    let (runtime, stop) = (served.world.runtime.clone(), stopping.clone());
    sessions.spawn(async move {
        tokio::select! {
            () = exec::task::end_leftovers(runtime, left) => {}
            // What is left then is the next agent's.
            () = stop.cancelled() => {}
        }
    });
    let router = router(served);
    let (listener, guard) = socket.into_listener();
    let graceful = stopping.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        shutdown.await;
        graceful.cancel();
    });
    let farewell = async {
        stopping.cancelled().await;
        tokio::time::sleep(FAREWELL).await;
    };
    let result = tokio::select! {
        // Dropped when the grace period is over: responses that have not finished by then are cut off.
        result = std::future::IntoFuture::into_future(server) => result,
        // Dropped if every response has finished sooner.
        () = farewell => Ok(()),
    };
    Served::end_sessions(sessions).await;
    drop(guard);
    // What is not ended yet is left for the next agent to end.
    match std::fs::remove_dir(&exec_dir) {
        Err(error)
            if ![io::ErrorKind::NotFound, io::ErrorKind::DirectoryNotEmpty].contains(&error.kind()) =>
        {
            result.and(Err(error))
        }
        _ => result,
    }
}

fn router(served: Served) -> Router {
    let checks = health::router(served.world.health.clone());
    let exec = get(exec::endpoint::answer_locally);
    let attach = get(attach::endpoint::answer_locally);
    let forward = get(port_forward::endpoint::answer);
    Router::new()
        .route("/pods", get(objects::pods))
        .route("/pods/{namespace}/{name}", get(objects::pod))
        .route("/node", get(objects::node))
        .route("/events", get(events::events))
        .route("/images", get(images::list))
        .route("/images/prune", post(images::prune))
        .route("/images/pull", post(images::pull))
        .route("/images/import", post(images::import))
        .route("/pulls", get(pulls::list))
        .route("/problems", get(objects::problems))
        .route("/warnings", get(objects::warnings))
        .route("/configz", get(objects::configz))
        .route("/metrics", get(metrics::answer))
        .route("/metrics/cadvisor", get(metrics::answer_cadvisor))
        .route("/metrics/probes", get(metrics::answer_probes))
        .route("/metrics/resource", get(metrics::answer_resource))
        .route("/stats/summary", get(stats::answer))
        .route("/top", get(top::answer))
        .route("/volumes", get(volumes::answer))
        .route("/timeline/{namespace}/{name}", get(timeline::answer))
        .route("/logs/{namespace}/{pod}/{container}", get(logs::answer))
        .route("/ephemeralcontainers/{namespace}/{pod}", post(ephemeral::add))
        .route(
            "/ephemeralcontainers/{namespace}/{pod}/{container}",
            get(ephemeral::wait),
        )
        .route("/exec/{namespace}/{pod}/{container}", exec)
        .route("/attach/{namespace}/{pod}/{container}", attach)
        .route("/portForward/{namespace}/{pod}", forward)
        .fallback(objects::unknown)
        .with_state(served)
        .merge(checks)
}

#[cfg(test)]
pub(crate) mod fixture;
