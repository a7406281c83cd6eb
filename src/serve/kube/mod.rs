//! What the endpoint for kubectl answers on a machine without a cluster: the API server's own protocol, as far as one node
//! has something to say. It reads what other rooms publish, and asks the sources of pods for changes.
//!
//! - `tls`, `access`: the connection, and who may use it.
//! - `path`, `options`, `accept`: a request, parsed at the border.
//! - `kind`, `object`: what is served.
//! - `gather`: the objects from the values of the agent, with `identity`; `heartbeat`: whether the node has changed;
//!   `store`: their versions; `feed`: the one task that owns both.
//! - `discovery`, `read`, `watch`, `table`, `selector`: the answers to reads.
//! - `streams`, `metrics`: logs, commands, forwarded ports and what pods use, from the code of the node API.
//! - `access_review`: what a client may do, if it asks.
//! - `write`: requests that change something; `openapi`: what clients look up before they send an object.

mod accept;
mod access;
mod access_review;
mod discovery;
mod events;
mod feed;
mod gather;
mod heartbeat;
mod identity;
mod kind;
mod kubectl;
mod metrics;
mod object;
mod openapi;
mod options;
mod path;
mod read;
mod router;
mod selector;
mod store;
mod streams;
mod table;
mod tls;
mod watch;
mod write;

use std::future::Future;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use access::Credentials;
pub use feed::Sources;
pub use tls::KubectlTlsError;
pub use write::body;

use super::port::{Bounds, Port};
use super::world::{FAREWELL, Served, World};
use access::Access;
use kubectl::Kubectl;
use tls::Tls;

/// Serves until `shutdown` completes; then pending responses get two seconds to finish.
///
/// # Errors
///
/// The certificate or its key cannot be used.
pub async fn run(
    listener: TcpListener,
    credentials: Credentials,
    world: World,
    sources: Sources,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), KubectlTlsError> {
    let port = Port {
        name: "kubectl",
        listener,
        bounds: Bounds::LOOPBACK,
        transport: Tls::new(&credentials)?,
    };
    let stopping = CancellationToken::new();
    let served = Served::new(world, stopping.clone());
    let sessions = served.sessions.clone();
    let (feed, requests) = feed::requests();
    let router = router::router(Kubectl { served, feed }, Access::new(&credentials));
    let stop = stopping.clone();
    let stopped = async move {
        shutdown.await;
        stop.cancel();
    };
    let owner = feed::run(sources, requests, stopping.clone());
    tokio::join!(port.serve(router, stopping, FAREWELL), owner, stopped);
    Served::end_sessions(sessions).await;
    Ok(())
}

#[cfg(test)]
mod tests;
