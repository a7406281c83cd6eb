//! What a call to the runtime can fail with.

use std::error::Error as _;
use std::fmt::Write as _;
use std::time::Duration;

use tonic::{Code, Status};

use crate::model::error_chain::causes;

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {}", self.grpc_text())]
pub struct CriError {
    /// The CRI call, for example `RunPodSandbox`.
    pub call: &'static str,
    /// gRPC's code.
    pub code: Code,
    /// The runtime's message.
    pub message: String,
    origin: Origin,
}

/// Where the error comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The runtime answered with it.
    Runtime,
    /// The connection failed: there was no answer.
    Wire,
}

impl CriError {
    pub(crate) fn from_status(call: &'static str, status: &Status) -> Self {
        // tonic attaches a source to statuses that it makes from transport errors, and none to those that a server
        // sent. While containerd loads its plugins the socket answers, but only with this.
        let starting = status.message().contains("server is not initialized yet");
        if status.source().is_some() || status.code() == Code::Unavailable || starting {
            let mut message = status.message().to_owned();
            // The message repeats the first one.
            for cause in causes(status).skip(1) {
                let _ = write!(message, ": {cause}");
            }
            CriError {
                call,
                code: Code::Unavailable,
                message,
                origin: Origin::Wire,
            }
        } else {
            CriError {
                call,
                code: status.code(),
                message: status.message().to_owned(),
                origin: Origin::Runtime,
            }
        }
    }

    pub(super) fn deadline(call: &'static str, after: Duration) -> Self {
        CriError {
            call,
            code: Code::DeadlineExceeded,
            message: format!("context deadline exceeded: no answer within {after:?}"),
            origin: Origin::Runtime,
        }
    }

    pub(super) fn empty(call: &'static str) -> Self {
        CriError {
            call,
            code: Code::Internal,
            message: "the runtime's answer is empty".to_owned(),
            origin: Origin::Runtime,
        }
    }

    /// There was no answer: the socket is missing or refuses connections, the connection broke, or the runtime is
    /// starting.
    pub fn is_unreachable(&self) -> bool {
        self.origin == Origin::Wire
    }

    /// The runtime does not know the object: for a removal that means done.
    pub fn not_found(&self) -> bool {
        self.code == Code::NotFound
    }

    /// The runtime does not support the call.
    pub fn unimplemented(&self) -> bool {
        // containerd before 2.3 answers some unsupported calls with `Unknown` and this text.
        self.code == Code::Unimplemented
            || (self.code == Code::Unknown && self.message.contains("not implemented"))
    }

    /// The error in the wording of grpc-go, which the kubelet copies into events and messages.
    pub fn grpc_text(&self) -> String {
        let code = match self.code {
            Code::Cancelled => "Canceled".to_owned(),
            code => format!("{code:?}"),
        };
        format!("rpc error: code = {code} desc = {}", self.message)
    }
}

/// An endpoint of the configuration that is not a unix socket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint {endpoint:?} is not a unix socket; use unix:///run/containerd/containerd.sock")]
pub struct EndpointError {
    /// As configured.
    pub endpoint: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_not_unreachable() {
        let error = CriError::from_status("StopContainer", &Status::not_found("no such container"));
        assert!(error.not_found() && !error.is_unreachable());
        assert_eq!(
            error.grpc_text(),
            "rpc error: code = NotFound desc = no such container"
        );
        assert_eq!(
            error.to_string(),
            "StopContainer: rpc error: code = NotFound desc = no such container"
        );
    }

    #[test]
    fn a_runtime_that_starts_is_unreachable() {
        let starting = Status::unknown("server is not initialized yet");
        assert!(CriError::from_status("Status", &starting).is_unreachable());
        assert!(CriError::from_status("Status", &Status::unavailable("gone")).is_unreachable());
    }

    #[test]
    fn an_error_of_the_wire_tells_its_chain() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = CriError::from_status("Version", &Status::from_error(Box::new(refused)));
        assert!(error.is_unreachable(), "{error:?}");
        assert!(error.message.contains("refused"), "{error}");
    }

    #[test]
    fn a_deadline_is_an_answer_of_a_kind() {
        let error = CriError::deadline("Status", Duration::from_secs(120));
        assert_eq!(error.code, Code::DeadlineExceeded);
        assert!(!error.is_unreachable());
    }

    #[test]
    fn calls_that_old_runtimes_lack() {
        let check = |status: Status| CriError::from_status("RuntimeConfig", &status).unimplemented();
        assert!(check(Status::unimplemented("unknown method RuntimeConfig")));
        assert!(check(Status::unknown("not implemented")));
        assert!(!check(Status::unknown("failed")));
    }
}
