//! Answers `/debug/flags/v` and `/debug/pprof/`.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::serve::world::Served;

/// The most bytes that a verbosity may have; axum answers 413 beyond them.
pub(in crate::serve) const VERBOSITY_BYTES: usize = 64;

/// Why there are no profiles.
const NO_PROFILES: &str = "gantry has no profiles in the format of Go's pprof, because it is not a program in Go; \
                           use perf on the node instead: perf record -g -p $(pidof gantry)\n";

/// Sets the verbosity (`StringFlagPutHandler` of `k8s.io/apiserver`, `GlogSetter` of `k8s.io/component-base`).
pub(in crate::serve) async fn set_verbosity(
    State(served): State<Served>,
    method: Method,
    body: Bytes,
) -> Response {
    let Some(verbosity) = &served.world.offered.verbosity else {
        return disabled("flags endpoint is disabled.\n");
    };
    if method != Method::PUT {
        return plain(StatusCode::NOT_ACCEPTABLE, "unsupported http method".to_owned());
    }
    let text = String::from_utf8_lossy(&body);
    match parsed(&text).and_then(|level| verbosity.set(level)) {
        Ok(()) => {
            tracing::info!(verbosity = %text, "a caller of the node's port changed the verbosity of the log");
            plain(
                StatusCode::OK,
                format!("successfully set klog.logging.verbosity to {text}"),
            )
        }
        Err(why) => {
            let why = format!("failed set klog.logging.verbosity {text}: {why}");
            plain(StatusCode::BAD_REQUEST, why)
        }
    }
}

/// As Go's `strconv.ParseInt` with its errors.
fn parsed(text: &str) -> Result<i32, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse().map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseInt: parsing {text:?}: {why}")
    })
}

/// What profiling programs ask for.
pub(in crate::serve) async fn profiles(State(served): State<Served>, method: Method) -> Response {
    match method {
        _ if !served.world.offered.profiling => disabled("profiling endpoint is disabled.\n"),
        Method::GET | Method::HEAD => (StatusCode::NOT_IMPLEMENTED, NO_PROFILES).into_response(),
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

/// As the kubelet's `getHandlerForDisabledEndpoint`.
fn disabled(text: &'static str) -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, text).into_response()
}

fn plain(code: StatusCode, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (code, headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let check = |text: &str, expected: Result<i32, &str>| {
            let expected = expected.map_err(|why| format!("strconv.ParseInt: parsing {text:?}: {why}"));
            assert_eq!(parsed(text), expected);
        };
        check("4", Ok(4));
        check("+4", Ok(4));
        check("-1", Ok(-1));
        check("", Err("invalid syntax"));
        check("4 ", Err("invalid syntax"));
        check("debug", Err("invalid syntax"));
        check("2147483648", Err("value out of range"));
    }
}
