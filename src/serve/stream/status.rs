//! How a command ended, as its client reads it: a `v1 Status` in JSON since version 4 of the protocol, a line of text before
//! (`v4WriteStatusFunc` in `staging/src/k8s.io/cri-streaming/pkg/streaming/remotecommand/httpstream.go`). Pure.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::command::{Ended, Version};

/// The reason of a command that ended with another code than 0, and the cause that carries the code.
const NON_ZERO: &str = "NonZeroExitCode";
const EXIT_CODE: &str = "ExitCode";

/// The parts of `metav1.Status` that are used.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Cause {
    reason: String,
    message: String,
}

/// The bytes on the error stream; none for a success before version 4.
pub(crate) fn encode(ended: &Ended, version: Version) -> Bytes {
    let status = match ended {
        Ended::Exited(0) => Status {
            status: "Success".to_owned(),
            ..Status::default()
        },
        Ended::Exited(code) => Status {
            status: "Failure".to_owned(),
            reason: NON_ZERO.to_owned(),
            message: format!("command terminated with non-zero exit code: exit status {code}"),
            details: Some(Details {
                causes: vec![Cause {
                    reason: EXIT_CODE.to_owned(),
                    message: code.to_string(),
                }],
            }),
            code: None,
        },
        Ended::Failed(message) => Status {
            status: "Failure".to_owned(),
            reason: "InternalError".to_owned(),
            message: message.clone(),
            code: Some(500),
            details: None,
        },
    };
    match version >= Version::V4 {
        true => serde_json::to_vec(&status).expect("plain values").into(),
        false => status.message.into(),
    }
}

/// Reads the bytes of version 4. What cannot be read is a failure with the bytes as its text.
pub(crate) fn decode(bytes: &[u8]) -> Ended {
    let Ok(status) = serde_json::from_slice::<Status>(bytes) else {
        return Ended::Failed(String::from_utf8_lossy(bytes).into_owned());
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut codes = causes.filter(|cause| cause.reason == EXIT_CODE);
    match codes.next().and_then(|cause| cause.message.parse().ok()) {
        Some(code) if status.reason == NON_ZERO => Ended::Exited(code),
        _ if status.status == "Success" => Ended::Exited(0),
        _ => Ended::Failed(status.message),
    }
}

/// Whether these bytes are all of a status.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Status>(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_encoded_as_the_kubelets_are() {
        let check = |ended: Ended, version: Version, expected: &str| {
            let bytes = encode(&ended, version);
            assert_eq!(String::from_utf8_lossy(&bytes), expected, "{ended:?} {version:?}");
            if version >= Version::V4 {
                assert_eq!(decode(&bytes), ended);
            }
        };
        check(Ended::Exited(0), Version::V4, r#"{"status":"Success"}"#);
        check(
            Ended::Exited(3),
            Version::V5,
            r#"{"status":"Failure","message":"command terminated with non-zero exit code: exit status 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#,
        );
        check(
            Ended::Failed("Internal error occurred: gone".into()),
            Version::V4,
            r#"{"status":"Failure","message":"Internal error occurred: gone","reason":"InternalError","code":500}"#,
        );
        check(Ended::Exited(0), Version::V1, "");
        check(
            Ended::Exited(3),
            Version::V3,
            "command terminated with non-zero exit code: exit status 3",
        );
        check(Ended::Failed("gone".into()), Version::V2, "gone");
    }

    #[test]
    fn what_is_no_status_is_a_failure() {
        let check = |bytes: &str, expected: Ended| assert_eq!(decode(bytes.as_bytes()), expected, "{bytes}");
        check("no JSON", Ended::Failed("no JSON".into()));
        check("{}", Ended::Failed(String::new()));
        check(
            r#"{"status":"Failure","reason":"NonZeroExitCode","message":"m","details":{"causes":[{"reason":"ExitCode","message":"x"}]}}"#,
            Ended::Failed("m".into()),
        );
        check(r#"{"metadata":{},"status":"Success"}"#, Ended::Exited(0));
        assert!(is_whole(b"{}") && !is_whole(b"{\"status\":\"Succ") && !is_whole(b""));
    }
}
