//! `/portForward`

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::dial::PodNetwork;
use super::session::{self, Target};
use crate::cri::SandboxNetwork;
use crate::model::pod::{PodName, PodUid};
use crate::serve::stream::endpoint::{self, Address};
use crate::serve::stream::upgrade::{self, NotUpgraded, Wire};
use crate::serve::stream::websocket;
use crate::serve::world::Served;

/// What clients speak over SPDY (`SupportedProtocols` in `staging/src/k8s.io/cri-streaming/pkg/streaming/portforward`).
const PROTOCOLS: &[&str] = &["portforward.k8s.io"];

pub(crate) async fn answer(
    State(served): State<Served>,
    Path(address): Path<Address>,
    request: Request,
) -> Response {
    endpoint::answer(forward(&served, &address, request).await)
}

async fn forward(served: &Served, address: &Address, request: Request) -> Result<Response, NotUpgraded> {
    let (name, pod) = address.pod(served)?;
    let wire = upgrade::wire(request.headers())?;
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let target = Target {
        network: network(served, &name, &uid).await?,
        pod: name,
        uid,
    };
    let headers = request.headers();
    match wire {
        Wire::Spdy => {
            let name = upgrade::choose_spdy(headers, PROTOCOLS)?;
            endpoint::upgraded(request, served, async move |io, lifetime| {
                session::run(io, target, &lifetime).await;
            });
            Ok(upgrade::begin_spdy(name))
        }
        Wire::WebSocket => {
            let key = websocket::key(headers)?;
            let response = websocket::begin(key, websocket::choose(headers, &[websocket::TUNNEL])?);
            endpoint::upgraded(request, served, async move |io, lifetime| {
                session::run(websocket::tunnel(io), target, &lifetime).await;
            });
            Ok(response)
        }
    }
}

/// Where the pod's ports are: the network of its ready sandbox.
async fn network(served: &Served, name: &PodName, uid: &str) -> Result<PodNetwork, NotUpgraded> {
    let failed = |text: String| NotUpgraded::new(StatusCode::INTERNAL_SERVER_ERROR, text);
    let sandbox = {
        let snapshot = served.world.snapshot.borrow();
        let observed = snapshot.pods.get(name);
        let pod = observed.and_then(|observed| observed.uids.get(&PodUid(uid.to_owned())));
        pod.and_then(|pod| pod.ready_sandbox())
            .map(|sandbox| sandbox.id.clone())
    };
    let Some(sandbox) = sandbox else {
        return Err(failed(format!(
            "pod not found ({:?})",
            format!("{}_{}", name.name, name.namespace)
        )));
    };
    match served.world.runtime.sandbox_network(&sandbox).await {
        Ok(SandboxNetwork::Host) => Ok(PodNetwork::Host),
        Ok(SandboxNetwork::Namespace(path)) => Ok(PodNetwork::Namespace(path.into())),
        Err(error) => Err(failed(error.grpc_text())),
    }
}
