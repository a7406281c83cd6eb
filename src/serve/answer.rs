//! Errors in Kubernetes' own format, a `v1 Status`, so that any client can read them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusCause, StatusDetails};

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
    /// The object is there already.
    #[error("{0}")]
    AlreadyExists(String),
    /// The object is not valid.
    #[error("{}", .0.text)]
    Invalid(Box<InvalidObject>),
    /// What is asked for is not done with this object.
    #[error("{0}")]
    Forbidden(String),
    /// The body has a form that is not read here.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// The body is too large.
    #[error("{0}")]
    TooLarge(String),
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

/// What is wrong with an object, as clients show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidObject {
    /// All of it in one line.
    pub text: String,
    /// `Pod`
    pub kind: &'static str,
    /// The object's name.
    pub name: String,
    /// Fields, each with what is wrong with it.
    pub causes: Vec<(String, String)>,
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
            Refusal::AlreadyExists(_) => (StatusCode::CONFLICT, "AlreadyExists"),
            Refusal::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
            Refusal::Forbidden(_) => (StatusCode::FORBIDDEN, "Forbidden"),
            Refusal::UnsupportedMediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType"),
            Refusal::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
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
            details: match self {
                Refusal::Invalid(invalid) => Some(invalid.details()),
                _ => None,
            },
            ..Status::default()
        }
    }
}

impl InvalidObject {
    fn details(&self) -> StatusDetails {
        let cause = |(field, message): &(String, String)| StatusCause {
            field: Some(field.clone()),
            message: Some(message.clone()),
            reason: Some("FieldValueInvalid".to_owned()),
        };
        StatusDetails {
            kind: Some(self.kind.to_owned()),
            name: Some(self.name.clone()),
            causes: Some(self.causes.iter().map(cause).collect()),
            ..StatusDetails::default()
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.code().0, Json(self.object())).into_response()
    }
}
