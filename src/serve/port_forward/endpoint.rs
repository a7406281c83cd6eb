//! `/portForward`

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::dial::PodNetwork;
use super::ports::BadPorts;
use super::relay::Target;
use super::{channels, ports, session};
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
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let query = query.as_deref().unwrap_or_default();
    endpoint::answer(begin(&served, &address, query, request).await)
}

/// Begins the streams to the ports of a pod. The query names ports if the client opens no streams that could.
pub(in crate::serve) async fn begin(
    served: &Served,
    address: &Address,
    query: &str,
    request: Request,
) -> Result<Response, NotUpgraded> {
    let wire = upgrade::wire(request.headers());
    let has_tunnel = websocket::choose(request.headers(), &[websocket::TUNNEL]).is_ok();
    // As the kubelet, which looks at the pod later.
    let ports = match &wire {
        Ok(Wire::WebSocket) if !has_tunnel => {
            let bad = |error: BadPorts| NotUpgraded::new(StatusCode::BAD_REQUEST, error.to_string());
            ports::parse(query).map_err(bad)?
        }
        _ => Vec::new(),
    };
    let (name, pod) = address.pod(served)?;
    let wire = wire?;
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
        Wire::WebSocket if !has_tunnel => {
            let key = websocket::key(headers)?;
            let spoken = channels::PROTOCOLS.map(|(name, _)| name);
            let name = websocket::choose(headers, &spoken)?;
            let mut protocols = channels::PROTOCOLS.into_iter();
            let (_, codec) = protocols.find(|(is, _)| *is == name).expect("it is one of them");
            let response = websocket::begin(key, name);
            endpoint::upgraded(request, served, async move |io, lifetime| {
                channels::run(io, codec, &ports, target, &lifetime).await;
            });
            Ok(response)
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
