//! What is not done here: each request is refused with what to do instead. Pure.

use axum::http::Method;

use crate::serve::answer::Refusal;
use crate::serve::kube::kind::Kind;
use crate::serve::kube::path::{Part, Place};

/// The answer to a request with a method that changes something.
pub(super) fn refuse(method: &Method, place: &Place) -> Refusal {
    Refusal::MethodNotAllowed(sentence(method, place))
}

fn sentence(method: &Method, place: &Place) -> String {
    let names = place.kind.names();
    let name = place
        .name
        .as_deref()
        .map(|name| format!(" {name:?}"))
        .unwrap_or_default();
    let subject = format!("{}{name}", names.plural);
    let doing = match method.as_str() {
        "DELETE" => "deleted",
        "POST" => "created",
        _ => "changed",
    };
    if place.part != Part::Whole {
        return format!("this part of {subject} is not served without a cluster");
    }
    let remedy = match place.kind {
        // Without a namespace, or all of them at once.
        Kind::Pod | Kind::ConfigMap | Kind::Secret => "name one, in its namespace",
        Kind::Node => "set its labels and taints in gantry's configuration",
        Kind::Namespace => "a namespace is there while a manifest names it",
        Kind::Event => "events are written by the agent",
        Kind::Service => "services need a cluster",
    };
    format!("{subject} cannot be {doing} through this endpoint: {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::kube::path::{self, Target};

    #[test]
    fn a_refusal_says_what_to_do_instead() {
        let check = |method: Method, path: &str, expected: &str| {
            let Some(Target::Objects(place)) = path::parse(path) else {
                panic!("{path}");
            };
            let refused = refuse(&method, &place);
            assert!(matches!(refused, Refusal::MethodNotAllowed(_)));
            assert_eq!(refused.to_string(), expected, "{method} {path}");
        };
        check(
            Method::DELETE,
            "/api/v1/namespaces/default/pods",
            "pods cannot be deleted through this endpoint: name one, in its namespace",
        );
        check(
            Method::PATCH,
            "/api/v1/nodes/vm",
            "nodes \"vm\" cannot be changed through this endpoint: set its labels and taints in gantry's configuration",
        );
        check(
            Method::POST,
            "/api/v1/namespaces/default/pods/web-vm/eviction",
            "this part of pods \"web-vm\" is not served without a cluster",
        );
    }
}
