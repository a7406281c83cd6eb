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

use super::client::{Client, Reader, Writer};
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
use crate::serve::query::values;
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
    /// Of a pod whatever its UID; the container may be empty where none is meant.
    pub(crate) fn new(namespace: String, pod: String, container: String) -> Address {
        Address {
            namespace,
            pod,
            uid: None,
            container,
        }
    }

    /// The pod. A UID that is not its own names another pod, which is gone.
    pub(crate) fn pod(&self, served: &Served) -> Result<(PodName, Arc<Pod>), NotUpgraded> {
        let (name, pod) = self.pod_of_that_name(served)?;
        match self.is(&pod) {
            true => Ok((name, pod)),
            false => Err(NotUpgraded::new(StatusCode::NOT_FOUND, "pod not found")),
        }
    }

    /// The pod of this name, whatever its UID is.
    pub(crate) fn pod_of_that_name(&self, served: &Served) -> Result<(PodName, Arc<Pod>), NotUpgraded> {
        find(served, self.namespace.clone(), self.pod.clone())
            .map_err(|_| NotUpgraded::new(StatusCode::NOT_FOUND, "pod does not exist"))
    }

    fn is(&self, pod: &Pod) -> bool {
        self.uid.is_none() || pod.metadata.uid == self.uid
    }

    /// The ID of the container, which must be running. Errors are the kubelet's (`GetExec` in
    /// `pkg/kubelet/kubelet_pods.go`): a pod of another UID has no such container.
    pub(crate) fn running_container(&self, served: &Served) -> Result<String, NotUpgraded> {
        let (_, pod) = self.pod_of_that_name(served)?;
        self.running_in(&pod)
    }

    /// The same in the pod of this name.
    pub(crate) fn running_in(&self, pod: &Pod) -> Result<String, NotUpgraded> {
        match running_id(pod, &self.container) {
            Some(id) if self.is(pod) => Ok(id),
            _ => Err(NotUpgraded::new(
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

    /// The error of an attachment to a container that the pod does not have (`GetAttach` in `pkg/kubelet/kubelet_pods.go`).
    pub(crate) fn without_container(&self) -> String {
        format!(
            "container {} not found in pod {}_{}",
            self.container, self.pod, self.namespace
        )
    }

    /// The container's name.
    pub(crate) fn container(&self) -> &str {
        &self.container
    }
}

/// The streams that a query names, of which there must be one.
pub(crate) fn parts(query: &str) -> Result<Parts, NotUpgraded> {
    let parts = Parts::named(|name| values(query, name).next().is_some_and(|value| value == "1"));
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
    session: impl FnOnce(Client<Io>, Lifetime) -> F + Send + 'static,
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
                        let (reader, writer) = (Reader::Spdy(Box::new(reader)), Writer::Spdy(writer));
                        session(Client::new(reader, writer), lifetime).await;
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
                        let (reader, writer) = (Reader::WebSocket(reader), Writer::WebSocket(writer));
                        session(Client::new(reader, writer), lifetime).await;
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
