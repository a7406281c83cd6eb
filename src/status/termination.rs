//! The last status of a deleted pod none of whose containers run any more (`TerminatePod` in
//! `pkg/kubelet/status/status_manager.go`): consumers that rely on its phase learn that it has ended.

use k8s_openapi::api::core::v1 as api;

use super::phase;
use super::state::lost;
use crate::model::pod::Pod;

/// The message for a container whose end was not observed.
const NOT_LOCATED: &str = "The container could not be located when the pod was terminated";

/// Reports a container that never ran, or whose end is not known, as failed, and the pod with it. Its conditions stay:
/// they describe the pod before its end.
pub(super) fn terminate(status: &mut api::PodStatus, pod: &Pod) {
    let has_initialized = has_initialized(status, pod);
    let regular = status.container_statuses.iter_mut().flatten();
    for container in regular.filter(|_| has_initialized) {
        end(container);
    }
    if let Some(init) = &mut status.init_container_statuses {
        // Init containers after the last one that started were never due.
        let begun = init.iter().rposition(has_begun).unwrap_or(0);
        for container in init.iter_mut().take(begun + 1) {
            end(container);
        }
    }
    if !status.phase.as_deref().is_some_and(phase::is_final) {
        status.phase = Some(phase::FAILED.to_owned());
    }
}

fn end(container: &mut api::ContainerStatus) {
    let has_ended = |state: &api::ContainerState| state.terminated.is_some();
    if !container.state.as_ref().is_some_and(has_ended) {
        container.state = Some(lost(NOT_LOCATED));
    }
}

/// Whether it is, or was, in a state other than waiting.
fn has_begun(container: &api::ContainerStatus) -> bool {
    let waits = |state: &api::ContainerState| state.waiting.is_some();
    !container.state.as_ref().is_some_and(waits) || last_end(container).is_some()
}

fn last_end(container: &api::ContainerStatus) -> Option<&api::ContainerStateTerminated> {
    container.last_state.as_ref()?.terminated.as_ref()
}

/// Whether the regular containers were due.
fn has_initialized(status: &api::PodStatus, pod: &Pod) -> bool {
    let Some((last, declared)) = status
        .init_container_statuses
        .as_ref()
        .and_then(|init| init.last())
        .zip(pod.init_containers.last())
    else {
        return true;
    };
    let state = last.state.as_ref();
    let done = match declared.sidecar {
        true => last.started == Some(true) && state.is_some_and(|state| state.running.is_some()),
        false => [state.and_then(|state| state.terminated.as_ref()), last_end(last)]
            .into_iter()
            .flatten()
            .any(|end| end.exit_code == 0),
    };
    done || status.container_statuses.iter().flatten().any(has_begun)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::pod::{Deletion, RestartPolicy};
    use crate::model::runtime::ObservedName;
    use crate::model::sample;
    use crate::status::pod::pod_status;

    fn check(init: &[&str], reported: serde_json::Value, expected: &[&str]) {
        let pod = sample::pod(RestartPolicy::Always, init, &["c"]);
        let mut status: api::PodStatus = serde_json::from_value(reported).unwrap();
        terminate(&mut status, &pod);
        let all = [&status.init_container_statuses, &status.container_statuses];
        let states = all.into_iter().flatten().flatten().map(|container| {
            let state = container.state.as_ref().unwrap();
            let end = state.terminated.as_ref();
            end.map_or("waiting".to_owned(), |end| {
                format!("{} {}", end.reason.clone().unwrap_or_default(), end.exit_code)
            })
        });
        let phase = status.phase.clone().unwrap();
        assert_eq!([phase].into_iter().chain(states).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_never_ran_has_failed() {
        let waiting = |name: &str| {
            json!({"name": name, "state": {"waiting": {"reason": "ContainerCreating"}},
            "image": "", "imageID": "", "ready": false, "restartCount": 0})
        };
        let ended = |name: &str, code: i32| {
            json!({"name": name, "state": {"terminated": {"exitCode": code, "reason": "Error"}},
            "image": "", "imageID": "", "ready": false, "restartCount": 0})
        };
        check(
            &[],
            json!({"phase": "Pending", "containerStatuses": [waiting("c")]}),
            &["Failed", "ContainerStatusUnknown 137"],
        );
        check(
            &["a", "b"],
            json!({"phase": "Pending", "initContainerStatuses": [ended("a", 0), waiting("b")],
                "containerStatuses": [waiting("c")]}),
            &["Failed", "Error 0", "waiting", "waiting"],
        );
        check(
            &["a", "b"],
            json!({"phase": "Pending", "initContainerStatuses": [waiting("a"), waiting("b")],
                "containerStatuses": [waiting("c")]}),
            &["Failed", "ContainerStatusUnknown 137", "waiting", "waiting"],
        );
    }

    /// The conditions describe the pod before its end: they do not follow the phase.
    #[test]
    fn what_was_told_at_last_stays() {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        pod.deletion = Some(Deletion {
            asked: sample::at(0),
            grace: std::time::Duration::from_secs(5),
        });
        let report = |previous: Option<&api::PodStatus>, now| {
            let (observed, policy) = (ObservedName::default(), sample::policy());
            pod_status(&pod, &observed, None, previous, &policy, &[], sample::at(now))
        };
        let first = report(None, 1);
        let ready = |status: &api::PodStatus| {
            let all = status.conditions.clone().unwrap_or_default();
            let ready = all
                .into_iter()
                .find(|condition| condition.type_ == "Ready")
                .unwrap();
            ready.reason.unwrap_or_default()
        };
        assert_eq!(
            (first.phase.as_deref(), ready(&first).as_str()),
            (Some("Failed"), "ContainersNotReady")
        );
        assert_eq!(report(Some(&first), 2), first);
    }

    #[test]
    fn an_end_that_is_known_stays() {
        let ended = json!({"name": "c", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}},
            "image": "", "imageID": "", "ready": false, "restartCount": 0});
        check(
            &[],
            json!({"phase": "Succeeded", "containerStatuses": [ended]}),
            &["Succeeded", "Completed 0"],
        );
    }
}
