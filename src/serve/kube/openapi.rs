//! What clients look up before they send an object: whether the server checks its fields. It does, so the documents say that
//! and no more: the fields themselves are not described, and `kubectl explain` has nothing to show. Pure.

mod v2;

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use self::v2::Described;
use super::kind::{Kind, Scope};
use super::path::OpenApi;
use crate::serve::answer::Refusal;

/// The form in which kubectl asks for the older document.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// The same as older clients accept it, and as it is answered.
const PROTOBUF_OF_2: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The document.
pub(super) fn answer(document: OpenApi, headers: &HeaderMap) -> Result<Response, Refusal> {
    let answer = match document {
        OpenApi::V2 => return Ok(older(headers)),
        OpenApi::Paths => json!({"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1"}}}),
        OpenApi::Core => core(),
    };
    Ok(Json(answer).into_response())
}

fn older(headers: &HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let accepts = accept.unwrap_or_default();
    if accepts.contains(PROTOBUF) || accepts.contains(PROTOBUF_OF_2) {
        let kind = [(header::CONTENT_TYPE, PROTOBUF_OF_2)];
        let kinds = Kind::ALL.into_iter().map(|kind| Described {
            path: path_of(kind),
            kind: kind.names().kind,
        });
        return (kind, v2::document(kinds, &PARAMETERS)).into_response();
    }
    let info = json!({"title": "gantry", "version": "v1"});
    let empty = json!({"swagger": "2.0", "info": info, "paths": {}, "definitions": {}});
    Json(empty).into_response()
}

/// What a patch takes: who asks for the one sends a field that is unknown, who asks for the other writes nothing.
const PARAMETERS: [&str; 2] = ["dryRun", "fieldValidation"];

/// The newer document.
fn core() -> Value {
    let paths: Map<String, Value> = Kind::ALL.into_iter().map(path).collect();
    json!({
        "openapi": "3.0.0",
        "info": {"title": "gantry", "version": "v1"},
        "paths": paths,
        "components": {"schemas": {}},
    })
}

/// The path of an object.
fn path_of(kind: Kind) -> String {
    let within = match kind.scope() {
        Scope::Cluster => "",
        Scope::Namespaced => "/namespaces/{namespace}",
    };
    format!("/api/v1{within}/{}/{{name}}", kind.names().plural)
}

fn path(kind: Kind) -> (String, Value) {
    let parameter = |name| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let parameters = PARAMETERS.map(parameter);
    let patch = json!({
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {"group": "", "version": "v1", "kind": kind.names().kind},
    });
    (path_of(kind), json!({"patch": patch}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_checked_by_the_server() {
        let document = core();
        let path = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
        assert_eq!(path["parameters"][1]["name"], "fieldValidation");
        assert_eq!(path["x-kubernetes-group-version-kind"]["kind"], "Pod");
        assert!(document["paths"]["/api/v1/nodes/{name}"].is_object());
        assert_eq!(document["paths"].as_object().unwrap().len(), Kind::ALL.len());
    }

    #[test]
    fn the_older_document_has_the_form_that_is_accepted() {
        let check = |accept: &str, expected: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            let answer = answer(OpenApi::V2, &headers).unwrap();
            assert_eq!(answer.headers()[header::CONTENT_TYPE], expected, "{accept}");
        };
        check(PROTOBUF, PROTOBUF_OF_2);
        check(&format!("application/json, {PROTOBUF_OF_2}"), PROTOBUF_OF_2);
        check("application/json", "application/json");
    }
}
