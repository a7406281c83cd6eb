//! The state of one container, as the runtime has it or as it is said where the runtime has none.

use k8s_openapi::api::core::v1 as api;

use super::context::StatusContext;
use super::format::time;
use crate::model::pod::Pod;
use crate::model::reason::waiting;
use crate::model::runtime::{ContainerState, ObservedContainer};

/// The reason of a container that the runtime has lost (`pkg/kubelet/container/helpers.go`).
pub(super) const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";

/// The exit code of a container whose end was not observed.
pub(super) const UNKNOWN_EXIT_CODE: i32 = 137;

/// The total size of a pod's termination messages (`MaxPodTerminationMessageLogLength`).
pub(super) const MAX_MESSAGES: usize = 12 * 1024;

pub(super) fn state(context: StatusContext<'_>, instance: &ObservedContainer) -> api::ContainerState {
    match &instance.state {
        ContainerState::Created | ContainerState::Unknown => waiting_state(default_reason(context.pod), None),
        ContainerState::Running { started } => api::ContainerState {
            running: Some(api::ContainerStateRunning {
                started_at: Some(time(*started)),
            }),
            ..api::ContainerState::default()
        },
        ContainerState::Exited {
            started,
            finished,
            code,
            reason,
            message,
            termination_message,
        } => api::ContainerState {
            terminated: Some(api::ContainerStateTerminated {
                container_id: Some(container_id(instance)),
                exit_code: *code,
                reason: Some(reason.clone()).filter(|reason| !reason.is_empty()),
                message: ending_message(context.pod, message, termination_message),
                started_at: started.map(time),
                finished_at: Some(time(*finished)),
                signal: None,
            }),
            ..api::ContainerState::default()
        },
    }
}

/// The runtime's message and the container's own, truncated to the pod's share.
pub(super) fn ending_message(pod: &Pod, runtime: &str, own: &str) -> Option<String> {
    let mut message = match (runtime.is_empty(), own.is_empty()) {
        (true, true) => return None,
        (false, false) => format!("{runtime}: {own}"),
        _ => format!("{runtime}{own}"),
    };
    let share = MAX_MESSAGES / pod.all_containers().count().max(1);
    let longest = (0..=share).rfind(|&length| message.is_char_boundary(length.min(message.len())));
    message.truncate(longest.unwrap_or(0));
    Some(message)
}

pub(super) fn waiting_state(reason: &str, message: Option<String>) -> api::ContainerState {
    api::ContainerState {
        waiting: Some(api::ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message,
        }),
        ..api::ContainerState::default()
    }
}

pub(super) fn lost(message: &str) -> api::ContainerState {
    api::ContainerState {
        terminated: Some(api::ContainerStateTerminated {
            reason: Some(STATUS_UNKNOWN.to_owned()),
            message: Some(message.to_owned()),
            exit_code: UNKNOWN_EXIT_CODE,
            ..api::ContainerStateTerminated::default()
        }),
        ..api::ContainerState::default()
    }
}

pub(super) fn default_reason(pod: &Pod) -> &'static str {
    match pod.init_containers.is_empty() {
        true => waiting::CONTAINER_CREATING,
        false => waiting::POD_INITIALIZING,
    }
}

pub(super) fn container_id(instance: &ObservedContainer) -> String {
    format!("containerd://{}", instance.id)
}

pub(super) fn running(status: &api::ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

pub(super) fn terminated(status: &api::ContainerStatus) -> bool {
    status
        .state
        .as_ref()
        .is_some_and(|state| state.terminated.is_some())
}

/// The exit code of a state that is an end.
pub(super) fn exit_code(state: &api::ContainerState) -> Option<i32> {
    state.terminated.as_ref().map(|end| end.exit_code)
}
