//! Answers what a client asks about its own permissions (`kubectl auth can-i`), in JSON or, as newer clients send it, in
//! Kubernetes' protobuf (`staging/src/k8s.io/api/authorization/v1/generated.proto`). Pure but for the reading of the body.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http_body_util::{BodyExt as _, Limited};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use prost::Message as _;
use serde_json::json;

use super::discovery;
use crate::serve::answer::Refusal;

/// The largest body that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// What a protobuf body begins with (`k8s.io/apimachinery/pkg/runtime/serializer/protobuf`).
const PROTOBUF: &[u8] = b"k8s\0";

/// What is asked: whether this may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// Something with objects.
    Objects {
        verb: String,
        resource: String,
        subresource: String,
    },
    /// Something with a path.
    Path { verb: String },
}

/// The answer to the review in this request.
pub(super) async fn answer(request: Request) -> Result<Response, Refusal> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|error| unread(&error.to_string()))?.to_bytes();
    let allowed = match read(&body)? {
        Asked::Path { verb } => ["get", "head"].contains(&verb.as_str()),
        Asked::Objects {
            verb,
            resource,
            subresource,
        } => discovery::may(&verb, &resource, &subresource),
    };
    let reason = match allowed {
        true => "what this endpoint serves may be used by everyone who has its kubeconfig",
        false => "this endpoint does not serve that without a cluster",
    };
    let answer = json!({
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {},
        "spec": {},
        "status": {"allowed": allowed, "reason": reason},
    });
    Ok(Json(answer).into_response())
}

fn unread(why: &str) -> Refusal {
    Refusal::BadRequest(format!("the SelfSubjectAccessReview cannot be read: {why}"))
}

fn read(body: &[u8]) -> Result<Asked, Refusal> {
    match body.strip_prefix(PROTOBUF) {
        Some(message) => of_protobuf(message).map_err(|error| unread(&error.to_string())),
        None => of_json(body).map_err(|error| unread(&error.to_string())),
    }
}

fn of_json(body: &[u8]) -> serde_json::Result<Asked> {
    let spec = serde_json::from_slice::<SelfSubjectAccessReview>(body)?.spec;
    if let Some(path) = spec.non_resource_attributes {
        let verb = path.verb.unwrap_or_default();
        return Ok(Asked::Path { verb });
    }
    let objects = spec.resource_attributes.unwrap_or_default();
    Ok(Asked::Objects {
        verb: objects.verb.unwrap_or_default(),
        resource: objects.resource.unwrap_or_default(),
        subresource: objects.subresource.unwrap_or_default(),
    })
}

fn of_protobuf(message: &[u8]) -> Result<Asked, prost::DecodeError> {
    let unknown = Unknown::decode(message)?;
    let spec = Review::decode(unknown.raw.as_slice())?.spec.unwrap_or_default();
    if let Some(path) = spec.path {
        return Ok(Asked::Path { verb: path.verb });
    }
    let objects = spec.objects.unwrap_or_default();
    Ok(Asked::Objects {
        verb: objects.verb,
        resource: objects.resource,
        subresource: objects.subresource,
    })
}

/// `runtime.Unknown`, in which each message is wrapped.
#[derive(Clone, PartialEq, prost::Message)]
struct Unknown {
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

/// `SelfSubjectAccessReview`
#[derive(Clone, PartialEq, prost::Message)]
struct Review {
    #[prost(message, optional, tag = "2")]
    spec: Option<Spec>,
}

/// `SelfSubjectAccessReviewSpec`
#[derive(Clone, PartialEq, prost::Message)]
struct Spec {
    #[prost(message, optional, tag = "1")]
    objects: Option<ResourceAttributes>,
    #[prost(message, optional, tag = "2")]
    path: Option<NonResourceAttributes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceAttributes {
    #[prost(string, tag = "2")]
    verb: String,
    #[prost(string, tag = "5")]
    resource: String,
    #[prost(string, tag = "6")]
    subresource: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NonResourceAttributes {
    #[prost(string, tag = "2")]
    verb: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(verb: &str, resource: &str, subresource: &str) -> Asked {
        Asked::Objects {
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    fn protobuf(spec: Spec) -> Vec<u8> {
        let raw = Review { spec: Some(spec) }.encode_to_vec();
        [PROTOBUF, &Unknown { raw }.encode_to_vec()].concat()
    }

    #[test]
    fn both_forms_are_read() {
        let body = json!({"spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "subresource": "exec"}}});
        assert_eq!(
            read(body.to_string().as_bytes()).unwrap(),
            asked("create", "pods", "exec")
        );
        let body = json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/healthz"}}});
        let get = Asked::Path {
            verb: "get".to_owned(),
        };
        assert_eq!(read(body.to_string().as_bytes()).unwrap(), get);
        let objects = ResourceAttributes {
            verb: "get".to_owned(),
            resource: "nodes".to_owned(),
            ..ResourceAttributes::default()
        };
        let spec = Spec {
            objects: Some(objects),
            path: None,
        };
        assert_eq!(read(&protobuf(spec)).unwrap(), asked("get", "nodes", ""));
        let path = NonResourceAttributes {
            verb: "get".to_owned(),
        };
        let spec = Spec {
            objects: None,
            path: Some(path),
        };
        assert_eq!(read(&protobuf(spec)).unwrap(), get);
    }

    #[test]
    fn what_is_neither_is_refused() {
        for body in [&b""[..], b"[]", b"k8s\0\xff\xff", b"\0"] {
            assert!(matches!(read(body), Err(Refusal::BadRequest(_))), "{body:?}");
        }
    }
}
