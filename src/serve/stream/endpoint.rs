//! What the requests for streams have in common: whom they mean, and the upgrade of their connection.

use std::future::Future;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use tracing::debug;

use super::client::{Reader, Writer};
use super::command::{Parts, Version};
use super::lifetime::{Counting, Lifetime};
use super::spdy_command;
use super::upgrade::{self, NotUpgraded, Wire};
use super::websocket::{self, CommandProtocol};
use crate::model::pod::PodName;
use crate::serve::answer::Refusal;
use crate::serve::containers::{running, running_id};
use crate::serve::objects::find;
use crate::serve::port::Seat;
use crate::serve::world::Served;

/// An upgraded connection.
pub(crate) type Io = Counting<TokioIo<Upgraded>>;

/// Whom a request means, from its path. The API server leaves out the UID.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Address {
    namespace: String,
    pod: String,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    container: String,
}

impl Address {
    /// The pod. A UID that is not its own names another pod, which is gone.
    pub(crate) fn pod(&self, served: &Served) -> Result<(PodName, Arc<Pod>), NotUpgraded> {
        let gone = |text: &str| NotUpgraded::new(StatusCode::NOT_FOUND, text);
        let (name, pod) =
            find(served, self.namespace.clone(), self.pod.clone()).map_err(|_| gone("pod does not exist"))?;
        match &self.uid {
            Some(uid) if pod.metadata.uid.as_ref() != Some(uid) => Err(gone("pod not found")),
            _ => Ok((name, pod)),
        }
    }

    /// The ID of the container, which must be running, and the pod. Errors are the kubelet's (`GetExec` in
    /// `pkg/kubelet/kubelet_pods.go`): a pod of another UID has no such container.
    pub(crate) fn running_container(&self, served: &Served) -> Result<(String, Arc<Pod>), NotUpgraded> {
        let named = Address {
            uid: None,
            ..self.clone()
        };
        let (_, pod) = named.pod(served)?;
        let is_it = self.uid.is_none() || pod.metadata.uid == self.uid;
        match running_id(&pod, &self.container).filter(|_| is_it) {
            Some(id) => Ok((id, pod)),
            None => Err(NotUpgraded::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("container not found ({:?})", self.container),
            )),
        }
    }

    /// As above, for the agent's own commands: the error says what there is. `what` requires the container.
    pub(crate) fn running_locally(&self, served: &Served, what: &str) -> Result<(String, Arc<Pod>), Refusal> {
        let (_, pod) = find(served, self.namespace.clone(), self.pod.clone())?;
        Ok((running(&pod, &self.container, what)?, pod))
    }

    /// The container's name.
    pub(crate) fn container(&self) -> &str {
        &self.container
    }
}

/// The streams that a query names, and its other parameters by `other`. The names are those of the API server's requests
/// to a node (`NewOptions` in `staging/src/k8s.io/cri-streaming/pkg/streaming/remotecommand/httpstream.go`).
pub(crate) fn parts(query: &str) -> Result<Parts, NotUpgraded> {
    let is = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs
            .find(|(key, _)| key == name)
            .is_some_and(|(_, value)| value == "1")
    };
    let tty = is("tty");
    let parts = Parts {
        stdin: is("input"),
        stdout: is("output"),
        // A terminal has one output.
        stderr: is("error") && !tty,
        tty,
    };
    match parts.stdin || parts.stdout || parts.stderr {
        true => Ok(parts),
        false => Err(NotUpgraded::new(
            StatusCode::BAD_REQUEST,
            "you must specify at least 1 of stdin, stdout, stderr",
        )),
    }
}

/// Answers with the upgrade to a command's streams, and runs `session` with them once the connection is upgraded.
pub(crate) fn command<F>(
    request: Request,
    served: &Served,
    parts: Parts,
    session: impl FnOnce((Reader<Io>, Writer<Io>), Lifetime) -> F + Send + 'static,
) -> Result<Response, NotUpgraded>
where
    F: Future<Output = ()> + Send + 'static,
{
    let headers = request.headers();
    match upgrade::wire(headers)? {
        Wire::Spdy => {
            let name = upgrade::choose_spdy(headers, &Version::SPDY)?;
            let version = Version::named(name).expect("it is one of them");
            let response = upgrade::begin_spdy(name);
            upgraded(request, served, async move |io, lifetime| {
                let accepted = tokio::select! {
                    accepted = spdy_command::accept(io, parts, version) => accepted,
                    // Dropped with the connection.
                    why = lifetime.cut() => return debug!("a command's client is not waited for: {why}"),
                };
                match accepted {
                    Ok((reader, writer)) => {
                        session((Reader::Spdy(Box::new(reader)), Writer::Spdy(writer)), lifetime).await;
                    }
                    Err(error) => debug!(%error, "a command's client did not open its streams"),
                }
            });
            Ok(response)
        }
        Wire::WebSocket => {
            let key = websocket::key(headers)?;
            let name = websocket::choose(headers, &CommandProtocol::ALL.map(|protocol| protocol.name))?;
            let protocol = CommandProtocol::ALL
                .into_iter()
                .find(|protocol| protocol.name == name);
            let protocol = protocol.expect("it is one of them");
            let response = websocket::begin(key, name);
            upgraded(
                request,
                served,
                async move |io, lifetime| match websocket::command(io, protocol, parts).await {
                    Ok((reader, writer)) => {
                        session((Reader::WebSocket(reader), Writer::WebSocket(writer)), lifetime).await;
                    }
                    Err(error) => debug!(%error, "a command's client disconnected before it began"),
                },
            );
            Ok(response)
        }
    }
}

/// Runs `session` once the connection is upgraded. It is counted as a connection that is in use until the session ends,
/// and the agent waits for its end when it stops.
pub(crate) fn upgraded<F>(
    mut request: Request,
    served: &Served,
    session: impl FnOnce(Io, Lifetime) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let upgrade = hyper::upgrade::on(&mut request);
    let seat = request.extensions().get::<Arc<Seat>>().cloned();
    let idle = served.world.stream_idle;
    let lifetime = Lifetime::new(served.stopping.clone(), seat.clone(), idle);
    served.sessions.spawn(async move {
        let _in_use = seat.as_ref().map(Seat::begin);
        match upgrade.await {
            Ok(connection) => session(lifetime.counting(TokioIo::new(connection)), lifetime).await,
            Err(error) => debug!(%error, "a stream's client disconnected before it began"),
        }
    });
}

/// The answer to a request that is not upgraded.
pub(crate) fn answer(result: Result<Response, NotUpgraded>) -> Response {
    result.unwrap_or_else(IntoResponse::into_response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_names_the_streams() {
        let parts_of = |stdin, stdout, stderr, tty| Parts {
            stdin,
            stdout,
            stderr,
            tty,
        };
        let check = |query: &str, expected: Option<Parts>| assert_eq!(parts(query).ok(), expected, "{query}");
        check(
            "input=1&output=1&error=1",
            Some(parts_of(true, true, true, false)),
        );
        check(
            "output=1&error=1&tty=1&command=sh",
            Some(parts_of(false, true, false, true)),
        );
        check("output=true", None);
        check("error=1&tty=1", None);
        check("command=id", None);
        check("", None);
    }
}
