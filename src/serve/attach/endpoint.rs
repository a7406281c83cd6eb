//! `/attach`

use std::sync::Arc;

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use k8s_openapi::api::core::v1::Pod;

use super::session;
use crate::serve::answer::Refusal;
use crate::serve::containers::{container_names, has_terminal};
use crate::serve::stream::command::Parts;
use crate::serve::stream::endpoint::{self, Address};
use crate::serve::stream::upgrade::NotUpgraded;
use crate::serve::world::Served;

/// `/attach` of the node API.
pub(crate) async fn answer(
    State(served): State<Served>,
    Path(address): Path<Address>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let parts = endpoint::parts(query.as_deref().unwrap_or_default());
    endpoint::answer(parts.and_then(|parts| {
        let (_, pod) = address.pod_of_that_name(&served)?;
        if !container_names(&pod).contains(&address.container()) {
            return Err(NotUpgraded::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                address.without_container(),
            ));
        }
        let id = address.running_in(&pod)?;
        begin(&served, &address, (id, pod), parts, request)
    }))
}

/// `/attach` of the agent's socket.
pub(crate) async fn answer_locally(
    State(served): State<Served>,
    Path(address): Path<Address>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refusal> {
    let container = address.running_locally(&served, "attach")?;
    let parts = endpoint::parts(query.as_deref().unwrap_or_default());
    Ok(endpoint::answer(parts.and_then(|parts| {
        begin(&served, &address, container, parts, request)
    })))
}

/// Begins the streams of a running container, which `address` names.
pub(in crate::serve) fn begin(
    served: &Served,
    address: &Address,
    (id, pod): (String, Arc<Pod>),
    parts: Parts,
    request: Request,
) -> Result<Response, NotUpgraded> {
    // The client opens the streams that it asks for; whether there is a terminal was decided when the process began
    // (`GetAttach` in `pkg/kubelet/kubelet_pods.go`).
    let spec = pod.spec.as_ref();
    let tty = spec.is_some_and(|spec| has_terminal(spec, address.container()));
    let upstream = Parts {
        stderr: parts.stderr && !tty,
        tty,
        ..parts
    };
    let (runtime, snapshots) = (served.world.runtime.clone(), served.world.snapshot.clone());
    endpoint::command(request, served, parts, async move |client, lifetime| {
        session::run(client, (&runtime, snapshots), &id, upstream, &lifetime).await;
    })
}
