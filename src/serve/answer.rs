//! Errors in Kubernetes' own form, a `v1 Status`, so that any client can read them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

/// Why a question is not answered. The text is shown to the person who asked, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What was asked about is not there.
    #[error("{0}")]
    NotFound(String),
    /// The question itself is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// It cannot be done as things are now.
    #[error("{0}")]
    Conflict(String),
    /// The agent or the runtime failed.
    #[error("{0}")]
    Internal(String),
}

impl Refusal {
    /// `pods "web" not found`, as the API server says it.
    pub fn no_pod(name: &str) -> Self {
        Refusal::NotFound(format!("pods \"{name}\" not found"))
    }

    /// The code of the answer.
    pub(super) fn status(&self) -> StatusCode {
        self.code().0
    }

    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Refusal::NotFound(_) => (StatusCode::NOT_FOUND, "NotFound"),
            Refusal::BadRequest(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Refusal::Conflict(_) => (StatusCode::CONFLICT, "Conflict"),
            Refusal::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, reason) = self.code();
        let status = Status {
            code: Some(code.as_u16().into()),
            message: Some(self.to_string()),
            reason: Some(reason.to_owned()),
            status: Some("Failure".to_owned()),
            ..Status::default()
        };
        (code, Json(status)).into_response()
    }
}
