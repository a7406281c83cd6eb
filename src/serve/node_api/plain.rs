//! What the kubelet's libraries answer by themselves (go-restful, `net/http`): paths and methods that nothing serves.

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

/// A path that is served with a slash at its end. The location is relative, so that it holds behind the API server's proxy,
/// too.
pub(super) async fn with_slash(uri: Uri) -> Response {
    let path = uri.path();
    let name = path.rsplit('/').next().unwrap_or_default();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let headers = [
        (header::LOCATION, format!("{name}/{query}")),
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
    ];
    let text = format!("<a href=\"{path}/\">Temporary Redirect</a>.\n\n");
    (StatusCode::TEMPORARY_REDIRECT, headers, text).into_response()
}

/// A path below one of a group that has others.
pub(super) async fn no_page() -> Response {
    (StatusCode::NOT_FOUND, "404: Page Not Found").into_response()
}

/// A path that is served for other methods.
pub(super) async fn no_method() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed").into_response()
}
