//! Errors in Kubernetes' own format, a `v1 Status`, so that any client can read them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

/// Why a request fails. The text is shown to the user in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The requested object does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The request is invalid.
    #[error("{0}")]
    BadRequest(String),
    /// The request conflicts with the current state.
    #[error("{0}")]
    Conflict(String),
    /// The caller has not proven who it is.
    #[error("Unauthorized")]
    Unauthorized,
    /// What is asked for is not done here at all.
    #[error("{0}")]
    MethodNotAllowed(String),
    /// The client accepts no form that there is.
    #[error("{0}")]
    NotAcceptable(String),
    /// The version that the request continues from is forgotten: the client lists again.
    #[error("{0}")]
    Expired(String),
    /// The agent or the runtime failed.
    #[error("{0}")]
    Internal(String),
}

impl Refusal {
    /// `pods "web" not found`, worded as by the API server.
    pub fn no_pod(name: &str) -> Self {
        Refusal::NotFound(format!("pods \"{name}\" not found"))
    }

    /// The HTTP status code.
    pub(super) fn status(&self) -> StatusCode {
        self.code().0
    }

    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Refusal::NotFound(_) => (StatusCode::NOT_FOUND, "NotFound"),
            Refusal::BadRequest(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Refusal::Conflict(_) => (StatusCode::CONFLICT, "Conflict"),
            Refusal::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Refusal::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Refusal::NotAcceptable(_) => (StatusCode::NOT_ACCEPTABLE, "NotAcceptable"),
            Refusal::Expired(_) => (StatusCode::GONE, "Expired"),
            Refusal::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        }
    }
}

/// The response for a path that does not exist, as Go's server words it.
pub(crate) fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

impl Refusal {
    /// The object that clients read.
    pub(super) fn object(&self) -> Status {
        let (code, reason) = self.code();
        Status {
            code: Some(code.as_u16().into()),
            message: Some(self.to_string()),
            reason: Some(reason.to_owned()),
            status: Some("Failure".to_owned()),
            ..Status::default()
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.code().0, Json(self.object())).into_response()
    }
}
