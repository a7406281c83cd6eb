//! The response in the form that the caller accepts.

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde::Serialize;

use super::metadata::COMPONENT;
use super::negotiation::{Form, Version, negotiate};

/// Answers with an object of that kind (`Flagz`), or with its text below a title.
pub(super) fn answer<T: Serialize>(
    headers: &HeaderMap,
    kind: &str,
    object: impl Fn(Version) -> T,
    text: impl Fn() -> String,
) -> Response {
    let accept = headers.get(header::ACCEPT);
    // A header that is not text names no media type.
    let accept = accept.map_or("", |value| value.to_str().unwrap_or("unknown/unknown"));
    let content_type = |content_type: &'static str| [(header::CONTENT_TYPE, content_type)];
    match negotiate(accept, kind) {
        Some(Form::Text) => {
            let page = kind.to_lowercase();
            let text = format!(
                "\n{COMPONENT} {page}\nWarning: This page is for people and has no fixed format; programs request the \
                 {kind} of config.k8s.io/v1beta1.\n{}",
                text()
            );
            (content_type("text/plain; charset=utf-8"), text).into_response()
        }
        Some(Form::Json(version)) => warned(Json(object(version)).into_response(), version, &page(kind)),
        Some(Form::Yaml(version)) => match yaml(&object(version)) {
            Ok(text) => {
                let response = (content_type("application/yaml"), text).into_response();
                warned(response, version, &page(kind))
            }
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
        },
        None => not_acceptable(),
    }
}

fn page(kind: &str) -> String {
    kind.to_lowercase()
}

fn yaml<T: Serialize>(object: &T) -> Result<String, String> {
    serde_saphyr::to_string(object).map_err(|error| error.to_string())
}

/// Clients show the warning of a deprecated version.
fn warned(mut response: Response, version: Version, page: &str) -> Response {
    if version == Version::V1alpha1 {
        let warning = format!(
            "299 - \"This version of the {page} endpoint is deprecated. Please use a newer version.\""
        );
        let warning = warning.parse().expect("it is printable text");
        response.headers_mut().insert(header::WARNING, warning);
    }
    response
}

fn not_acceptable() -> Response {
    let accepted = "application/json, application/yaml, text/plain";
    let status = Status {
        code: Some(StatusCode::NOT_ACCEPTABLE.as_u16().into()),
        message: Some(format!("only the following media types are accepted: {accepted}")),
        reason: Some("NotAcceptable".to_owned()),
        status: Some("Failure".to_owned()),
        ..Status::default()
    };
    (StatusCode::NOT_ACCEPTABLE, Json(status)).into_response()
}
