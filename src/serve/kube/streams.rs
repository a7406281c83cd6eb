//! Logs, commands and forwarded ports of a pod, on the code of the node API. The parameters are those that clients send to an
//! API server, which passes them on to a node under other names (`pkg/registry/core/pod/strategy.go`).

use std::borrow::Cow;

use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse as _, Response};
use k8s_openapi::api::core::v1::Pod;

use super::path::{Place, Stream};
use crate::serve::answer::Refusal;
use crate::serve::containers::{self, container_names};
use crate::serve::objects::find;
use crate::serve::query::values;
use crate::serve::stream::command::Parts;
use crate::serve::stream::endpoint::{self, Address};
use crate::serve::world::Served;
use crate::serve::{attach, exec, logs, port_forward};

/// The answer, which may be the beginning of a stream.
pub(super) async fn answer(
    served: Served,
    place: Place,
    stream: Stream,
    request: Request,
) -> Result<Response, Refusal> {
    let (namespace, name) = (
        place.namespace.unwrap_or_default(),
        place.name.unwrap_or_default(),
    );
    let (_, pod) = find(&served, namespace.clone(), name.clone())?;
    let query = request.uri().query().unwrap_or_default().to_owned();
    let address = |container: String| Address::new(namespace.clone(), name.clone(), container);
    match stream {
        Stream::Log => {
            let container = container(&pod, &query)?;
            let options = Query::try_from_uri(request.uri());
            logs::answer(State(served), Path((namespace, name, container)), options).await
        }
        Stream::Exec => {
            let command: Vec<String> = values(&query, "command").map(Cow::into_owned).collect();
            if command.is_empty() {
                return Err(Refusal::BadRequest(
                    "command: you must specify at least one word".to_owned(),
                ));
            }
            let container = container(&pod, &query)?;
            let id = containers::running(&pod, &container, "exec")?;
            let wanted = (parts(&query)?, command);
            Ok(endpoint::answer(exec::endpoint::begin(
                &served, id, wanted, request,
            )))
        }
        Stream::Attach => {
            let container = container(&pod, &query)?;
            let id = containers::running(&pod, &container, "attach")?;
            let parts = parts(&query)?;
            let address = address(container);
            let begun = attach::endpoint::begin(&served, &address, (id, pod), parts, request);
            Ok(endpoint::answer(begun))
        }
        Stream::PortForward => {
            let ports = node_ports(&query);
            let address = address(String::new());
            let begun = port_forward::endpoint::begin(&served, &address, &ports, request).await;
            Ok(begun.unwrap_or_else(|refused| refused.into_response()))
        }
    }
}

/// The container that a query names; a pod with one container needs no name.
fn container(pod: &Pod, query: &str) -> Result<String, Refusal> {
    if let Some(name) = values(query, "container").find(|name| !name.is_empty()) {
        return Ok(name.into_owned());
    }
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let names: Vec<&str> = containers.map(|container| container.name.as_str()).collect();
    match names.as_slice() {
        [only] => Ok((*only).to_owned()),
        _ => {
            let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
            Err(Refusal::BadRequest(format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                container_names(pod).join(" ")
            )))
        }
    }
}

/// The streams that a query names, of which there must be one (`ValidatePodExecOptions`).
fn parts(query: &str) -> Result<Parts, Refusal> {
    let is_set = |name: &str| {
        let value = values(query, name).next();
        !matches!(value.as_deref(), None | Some("false" | "0"))
    };
    let parts = Parts {
        stdin: is_set("stdin"),
        stdout: is_set("stdout"),
        // A terminal has one output.
        stderr: is_set("stderr") && !is_set("tty"),
        tty: is_set("tty"),
    };
    match parts.stdin || parts.stdout || parts.stderr {
        true => Ok(parts),
        false => {
            let text = "you must specify at least one of stdin, stdout, stderr";
            Err(Refusal::BadRequest(text.to_owned()))
        }
    }
}

/// The query about ports as a node gets it.
fn node_ports(query: &str) -> String {
    let mut ports = form_urlencoded::Serializer::new(String::new());
    for port in values(query, "ports") {
        ports.append_pair("port", &port);
    }
    ports.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::fixture;

    #[test]
    fn the_query_names_the_streams() {
        let check = |query: &str, expected: Option<[bool; 4]>| {
            let found = parts(query).ok();
            let found = found.map(|parts| [parts.stdin, parts.stdout, parts.stderr, parts.tty]);
            assert_eq!(found, expected, "{query}");
        };
        check(
            "stdin=true&stdout=true&stderr=true",
            Some([true, true, true, false]),
        );
        check(
            "stdin=true&stdout=true&tty=true&stderr=true",
            Some([true, true, false, true]),
        );
        check("stdin=false&stdout=1&stderr=0", Some([false, true, false, false]));
        check("tty=true&stderr=true", None);
        check("", None);
    }

    #[test]
    fn a_container_is_named_unless_there_is_one() {
        let mut pod = fixture::pod("default", "web-vm");
        assert_eq!(container(&pod, "").unwrap(), "web");
        assert_eq!(container(&pod, "container=other").unwrap(), "other");
        let spec = pod.spec.as_mut().unwrap();
        let mut second = spec.containers[0].clone();
        second.name = "log".to_owned();
        spec.containers.push(second);
        let refused = container(&pod, "container=").unwrap_err().to_string();
        let expected = "a container name must be specified for pod web-vm, choose one of: [web log]";
        assert_eq!(refused, expected);
    }

    #[test]
    fn ports_have_another_name_on_a_node() {
        assert_eq!(node_ports("ports=80&ports=90&x=1"), "port=80&port=90");
        assert_eq!(node_ports(""), "");
    }
}
