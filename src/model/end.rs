//! Why a pod was ended by the node, or by another writer of its status, regardless of its containers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodStatus;
use serde::{Deserialize, Serialize};

use super::api::has_final_phase;
use super::pod::Source;
use super::reason;

/// The prefix of the status message of a pod that the node rejected (`rejectPod` in `pkg/kubelet/kubelet.go`).
const REJECTED: &str = "Pod was rejected: ";

/// The status message of a pod that ended because the machine went down (`pkg/kubelet/nodeshutdown`). Together with the
/// reason it tells such an end from that of a pod that others have terminated.
const SHUT_DOWN: &str = "Pod was terminated in response to imminent node shutdown.";

/// The status message of a pod that ended to make room for a critical one (`pkg/kubelet/preemption`). Together with the
/// reason it tells such an end, as above.
const PREEMPTED: &str = "Preempted in order to admit critical pod";

/// Why a pod has ended for good. The node's decision is written to the pod's directory before anything is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "camelCase")]
pub enum End {
    /// The node rejected the pod: `OutOfcpu`, and what it lacks. A static pod is admitted once there is room.
    Refused {
        /// The reason in the status.
        reason: String,
        /// The requested and the available amounts.
        message: String,
    },
    /// Its `activeDeadlineSeconds` have passed.
    Deadline,
    /// The machine was shutting down. A static pod runs again when that is over, whether the machine has rebooted or not.
    Shutdown,
    /// The node was short of something, or the pod took more of its disk than it may.
    Evicted {
        /// Of what the node was short, and what the pod used.
        message: String,
        /// Which of the two.
        cause: EvictionCause,
        /// What programs read about it in the event.
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    },
    /// It made room for a critical pod.
    Preempted,
    /// Its status in the API was already terminal: the control plane's garbage collection ends pods like that.
    InStatus {
        /// As it is in the status; may be empty.
        reason: String,
        /// As it is in the status; may be empty.
        message: String,
    },
}

/// Why a pod was evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EvictionCause {
    /// The node was short of something: the pod did not fail by itself.
    Pressure,
    /// The pod exceeded a limit of local storage.
    Limit,
}

impl End {
    /// The end that a status reports, if any. Only the message distinguishes a rejection.
    pub fn of_status(status: &PodStatus) -> Option<End> {
        if !has_final_phase(Some(status)) {
            return None;
        }
        let reason = status.reason.clone().unwrap_or_default();
        let message = status.message.clone().unwrap_or_default();
        Some(match message.strip_prefix(REJECTED) {
            Some(message) => End::Refused {
                reason,
                message: message.to_owned(),
            },
            None if message == SHUT_DOWN && reason == reason::pod::TERMINATED => End::Shutdown,
            None if message == PREEMPTED && reason == reason::pod::PREEMPTING => End::Preempted,
            None => End::InStatus { reason, message },
        })
    }

    /// Whether the node rejected the pod.
    pub fn is_refusal(&self) -> bool {
        matches!(self, End::Refused { .. })
    }

    /// Whether a pod of that source has ended for good, so that no agent starts it again.
    pub fn is_final(&self, source: &Source) -> bool {
        match self {
            // It is admitted when there is room, or has failed in the API server.
            End::Refused { .. } => false,
            End::Shutdown => *source == Source::Api,
            End::Deadline | End::Evicted { .. } | End::Preempted | End::InStatus { .. } => true,
        }
    }

    /// Whether it is known only from what was written down when it was decided: it is not found out again.
    pub fn is_unique(&self) -> bool {
        match self {
            End::Shutdown | End::Evicted { .. } | End::Preempted => true,
            End::Refused { .. } | End::Deadline | End::InStatus { .. } => false,
        }
    }

    /// The message of the condition `DisruptionTarget`, if the node has ended the pod in favor of something else.
    pub fn disruption(&self) -> Option<&str> {
        match self {
            End::Shutdown => Some(SHUT_DOWN),
            End::Preempted => Some("Pod was preempted by Kubelet to accommodate a critical pod."),
            End::Evicted {
                message,
                cause: EvictionCause::Pressure,
                ..
            } => Some(message),
            End::Evicted { .. } | End::Refused { .. } | End::Deadline | End::InStatus { .. } => None,
        }
    }

    /// The reason in the pod's status; empty where there is none.
    pub fn reason(&self) -> &str {
        match self {
            End::Refused { reason, .. } | End::InStatus { reason, .. } => reason,
            End::Deadline => reason::pod::DEADLINE_EXCEEDED,
            End::Shutdown => reason::pod::TERMINATED,
            End::Evicted { .. } => reason::pod::EVICTED,
            End::Preempted => reason::pod::PREEMPTING,
        }
    }

    /// The message in the pod's status; empty where there is none.
    pub fn message(&self) -> Cow<'_, str> {
        match self {
            End::Refused { message, .. } => format!("{REJECTED}{message}").into(),
            End::InStatus { message, .. } | End::Evicted { message, .. } => message.into(),
            End::Shutdown => SHUT_DOWN.into(),
            End::Preempted => PREEMPTED.into(),
            End::Deadline => "Pod was active on the node longer than the specified deadline".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_read_from_the_status_that_it_makes() {
        let check = |phase: &str, end: &End, expected: Option<&End>| {
            let status = PodStatus {
                phase: Some(phase.to_owned()),
                reason: Some(end.reason().to_owned()),
                message: Some(end.message().into_owned()),
                ..PodStatus::default()
            };
            assert_eq!(End::of_status(&status).as_ref(), expected);
        };
        let refused = End::Refused {
            reason: "OutOfcpu".to_owned(),
            message: "too much".to_owned(),
        };
        let in_status = |end: &End| End::InStatus {
            reason: end.reason().to_owned(),
            message: end.message().into_owned(),
        };
        check("Failed", &refused, Some(&refused));
        check("Running", &refused, None);
        check("Failed", &End::Deadline, Some(&in_status(&End::Deadline)));
        check("Failed", &End::Shutdown, Some(&End::Shutdown));
        check("Running", &End::Shutdown, None);
        check("Failed", &End::Preempted, Some(&End::Preempted));
        let nothing = End::InStatus {
            reason: String::new(),
            message: String::new(),
        };
        check("Succeeded", &nothing, Some(&nothing));
    }

    #[test]
    fn an_end_is_kept_by_its_kind() {
        let kinds = [
            (End::Deadline, r#"{"why":"deadline"}"#),
            (End::Shutdown, r#"{"why":"shutdown"}"#),
            (End::Preempted, r#"{"why":"preempted"}"#),
        ];
        for (end, text) in kinds {
            assert_eq!(serde_json::to_string(&end).unwrap(), text);
            assert_eq!(serde_json::from_str::<End>(text).unwrap(), end);
        }
    }
}
