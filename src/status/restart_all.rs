//! The status of a pod all of whose containers are restarted after the end of one (KEP-5532;
//! `convertToAPIContainerStatuses` in `pkg/kubelet/kubelet_pods.go`). The containers are removed from the runtime, so
//! their statuses are derived from the previous ones.

use k8s_openapi::api::core::v1 as api;

use super::context::StatusContext;
use super::state::{UNKNOWN_EXIT_CODE, container_id, running, terminated, waiting_state};
use crate::model::pod::Container;
use crate::model::reason::waiting::RESTARTING_ALL_CONTAINERS;
use crate::model::runtime::ObservedContainer;

/// The condition of a pod with a rule that restarts all containers.
pub(super) const CONDITION: &str = "AllContainersRestarting";
/// Why it is true.
pub(super) const STARTED: &str = "RestartAllContainersStarted";
/// The same as a message.
pub(super) const MESSAGE: &str = "container exited with restart policy rule";

/// The message about a container that was removed from the runtime.
const REMOVED: &str = "The container is removed because RestartAllContainers in place";

/// Whether the restart is under way; `None`: the pod has no rule for it. The container that causes it is removed last.
pub(super) fn is_under_way(context: StatusContext<'_>) -> Option<bool> {
    let is_under_way = || context.seen.restarts_all(context.pod).is_some();
    context.pod.may_restart_all().then(is_under_way)
}

/// Whether a container that is missing now was removed for the restart: it is under way, or was at the `previous` report,
/// if that was no final one.
pub(super) fn is_to_be_shown(context: StatusContext<'_>, previous: Option<&api::PodStatus>) -> bool {
    let has_ended = context.memory.is_some_and(|memory| memory.ended.is_some());
    let Some(is_under_way) = is_under_way(context).filter(|_| !has_ended && context.pod.deletion.is_none())
    else {
        return false;
    };
    let Some(previous) = previous else {
        return is_under_way;
    };
    let mut conditions = previous.conditions.iter().flatten();
    let was_under_way = conditions.any(|known| known.type_ == CONDITION && known.status == "True");
    let lists = [&previous.init_container_statuses, &previous.container_statuses];
    let mut statuses = lists.into_iter().flatten().flatten();
    let has_ended_with_rule = statuses.any(|status| {
        let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        let own = context.pod.own_container(&status.name);
        ended
            .zip(own)
            .is_some_and(|(ended, own)| own.restarts_all_after(ended.exit_code))
    });
    is_under_way || was_under_way || has_ended_with_rule
}

/// The status of a container that was removed for the restart. It counts the restart once: the previous status of a
/// container that waits has it already.
pub(super) fn removed(
    context: StatusContext<'_>,
    container: &Container,
    previous: Option<&api::ContainerStatus>,
) -> Option<api::ContainerStatus> {
    let is_own = context.pod.own_container(&container.name).is_some();
    if !context.restarts_all || !is_own || context.seen.container(&container.name).is_some() {
        return None;
    }
    let previous = previous.filter(|previous| running(previous) || terminated(previous))?;
    let base = match terminated(previous) {
        true => previous.clone(),
        false => api::ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone(),
            ..api::ContainerStatus::default()
        },
    };
    Some(api::ContainerStatus {
        state: Some(waiting_state(RESTARTING_ALL_CONTAINERS, Some(REMOVED.to_owned()))),
        last_state: Some(end()),
        restart_count: previous.restart_count.saturating_add(1),
        ready: false,
        started: Some(false),
        ..base
    })
}

/// The end of a container that was removed without another.
fn end() -> api::ContainerState {
    api::ContainerState {
        terminated: Some(api::ContainerStateTerminated {
            reason: Some(RESTARTING_ALL_CONTAINERS.to_owned()),
            message: Some(REMOVED.to_owned()),
            exit_code: UNKNOWN_EXIT_CODE,
            ..api::ContainerStateTerminated::default()
        }),
        ..api::ContainerState::default()
    }
}

/// The last state of an instance whose predecessor was removed.
pub(super) fn last_state(
    context: StatusContext<'_>,
    instance: &ObservedContainer,
    previous: Option<&api::ContainerStatus>,
) -> Option<api::ContainerState> {
    let previous = previous.filter(|_| context.pod.may_restart_all())?;
    let is_another = previous.container_id.as_ref() != Some(&container_id(instance));
    if is_another && terminated(previous) {
        return previous.state.clone();
    }
    let last = previous.last_state.clone();
    let last = last.filter(|last| last.terminated.is_some());
    last.or_else(|| (is_another && running(previous) && context.restarts_all).then(end))
}

/// What the restart count is at least: that of the previous status, from which the runtime's may lag behind.
pub(super) fn least_count(context: StatusContext<'_>, previous: Option<&api::ContainerStatus>) -> i32 {
    let previous = previous.filter(|_| context.pod.may_restart_all());
    previous.map_or(0, |previous| previous.restart_count)
}

/// Whether the status of a container says that this restart ended it.
pub(super) fn is_ended_by_it(statuses: &[api::ContainerStatus], container: &Container) -> bool {
    let status = statuses.iter().find(|status| status.name == container.name);
    let Some((status, state)) = status.and_then(|status| Some((status, status.state.as_ref()?))) else {
        return false;
    };
    let last = status.last_state.as_ref().filter(|_| state.waiting.is_some());
    let ended = state
        .terminated
        .as_ref()
        .or(last.and_then(|last| last.terminated.as_ref()));
    ended.is_some_and(|ended| ended.reason.as_deref() == Some(RESTARTING_ALL_CONTAINERS))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::pod::{Pod, RestartPolicy};
    use crate::model::restart::{ExitCodes, RestartAction, RestartRule};
    use crate::model::runtime::ContainerState;
    use crate::model::sample::{self, at, exited, instance, observed, running, sandbox};
    use crate::status::pod::pod_status;

    /// `a`, whose end with 42 restarts all, `b` and an init container.
    fn pod() -> Pod {
        let mut pod = sample::pod(RestartPolicy::Never, &["i"], &["a", "b"]);
        pod.init_containers[0].restart = RestartPolicy::Never;
        pod.containers[0].restart_rules = vec![RestartRule {
            codes: ExitCodes::In(vec![42]),
            action: RestartAction::RestartAllContainers,
        }];
        pod
    }

    /// What is reported when these containers are there: `name`, how often restarted, and its state.
    fn reported(
        containers: Vec<(&str, u32, ContainerState)>,
        previous: Option<&api::PodStatus>,
    ) -> api::PodStatus {
        let containers = containers.into_iter();
        let containers = containers.map(|(name, restarts, state)| {
            // The id follows from name and count.
            instance(name, restarts, i64::from(restarts), state)
        });
        let seen = observed(vec![sandbox(0, true, 0)], containers.collect());
        pod_status(&pod(), &seen, None, previous, &sample::policy(), &[], at(9))
    }

    fn outline(status: &api::PodStatus) -> String {
        let lists = [&status.init_container_statuses, &status.container_statuses];
        let of_state = |state: Option<&api::ContainerState>| {
            let state = serde_json::to_value(state).unwrap();
            let words = ["waiting", "terminated", "running"];
            let kind = words.into_iter().find(|kind| state[kind].is_object());
            let kind = kind.map(|kind| {
                let detail = &state[kind];
                match (&detail["reason"], &detail["exitCode"]) {
                    (Value::Null, _) => kind.to_owned(),
                    (reason, Value::Null) => reason.as_str().unwrap().to_owned(),
                    (reason, code) => format!("{}={code}", reason.as_str().unwrap()),
                }
            });
            kind.unwrap_or_default()
        };
        let statuses = lists.into_iter().flatten().flatten().map(|status| {
            let (state, last) = (
                of_state(status.state.as_ref()),
                of_state(status.last_state.as_ref()),
            );
            format!("{}#{} {state} ({last})", status.name, status.restart_count)
        });
        let conditions = status.conditions.iter().flatten();
        let conditions = conditions.filter(|c| [CONDITION, "Initialized"].contains(&c.type_.as_str()));
        let conditions = conditions.map(|c| format!("{}={}", c.type_, c.status));
        let phase = status.phase.clone().into_iter();
        let all: Vec<_> = phase.chain(conditions).chain(statuses).collect();
        all.join("\n")
    }

    #[test]
    fn the_restart_is_seen_from_its_condition_and_the_statuses_of_the_containers() {
        let done = || ("i", 0, exited(1, 2, 0));
        let first = reported(vec![done(), ("a", 0, running(3)), ("b", 0, running(3))], None);
        let ended = ("a", 0, exited(3, 5, 42));
        let begun = reported(vec![done(), ended.clone(), ("b", 0, running(3))], Some(&first));
        expect_test::expect![[r#"
            Running
            Initialized=True
            AllContainersRestarting=True
            i#0 Completed=0 ()
            a#0 Error=42 ()
            b#0 running ()"#]]
        .assert_eq(&outline(&begun));
        let conditions = serde_json::to_value(begun.conditions.as_ref().unwrap()).unwrap();
        let conditions = conditions.as_array().unwrap();
        let condition = conditions
            .iter()
            .find(|known| known["type"] == CONDITION)
            .unwrap();
        assert_eq!(
            (&condition["reason"], &condition["message"]),
            (&json!(STARTED), &json!(MESSAGE))
        );
        // The others were removed, and then all.
        let rest = reported(vec![ended], Some(&begun));
        expect_test::expect![[r#"
            Running
            Initialized=True
            AllContainersRestarting=True
            i#1 RestartingAllContainers (RestartingAllContainers=137)
            a#0 Error=42 ()
            b#1 RestartingAllContainers (RestartingAllContainers=137)"#]]
        .assert_eq(&outline(&rest));
        let rest = reported(vec![("a", 0, exited(3, 5, 42))], Some(&rest));
        let gone = reported(vec![], Some(&rest));
        expect_test::expect![[r#"
            Running
            Initialized=True
            AllContainersRestarting=False
            i#1 PodInitializing (RestartingAllContainers=137)
            a#1 RestartingAllContainers (RestartingAllContainers=137)
            b#1 PodInitializing (RestartingAllContainers=137)"#]]
        .assert_eq(&outline(&gone));
        // Not every moment is reported.
        let at_once = reported(vec![], Some(&begun));
        expect_test::expect![[r#"
            Running
            Initialized=True
            AllContainersRestarting=False
            i#1 RestartingAllContainers (RestartingAllContainers=137)
            a#1 RestartingAllContainers (RestartingAllContainers=137)
            b#1 RestartingAllContainers (RestartingAllContainers=137)"#]]
        .assert_eq(&outline(&at_once));
        let again = reported(vec![("i", 1, running(7))], Some(&gone));
        expect_test::expect![[r#"
            Pending
            Initialized=True
            AllContainersRestarting=False
            i#1 running (RestartingAllContainers=137)
            a#1 PodInitializing (RestartingAllContainers=137)
            b#1 PodInitializing (RestartingAllContainers=137)"#]]
        .assert_eq(&outline(&again));
        let done = ("i", 1, exited(7, 8, 0));
        let runs = vec![done, ("a", 1, running(8)), ("b", 1, running(8))];
        let finally = reported(runs.clone(), Some(&again));
        expect_test::expect![[r#"
            Running
            Initialized=True
            AllContainersRestarting=False
            i#1 Completed=0 (RestartingAllContainers=137)
            a#1 running (RestartingAllContainers=137)
            b#1 running (RestartingAllContainers=137)"#]]
        .assert_eq(&outline(&finally));
        assert_eq!(
            outline(&finally),
            outline(&reported(runs.clone(), Some(&finally)))
        );
        let at_once = reported(runs, Some(&begun));
        expect_test::expect![[r#"
            Running
            Initialized=True
            AllContainersRestarting=False
            i#1 Completed=0 (Completed=0)
            a#1 running (Error=42)
            b#1 running (RestartingAllContainers=137)"#]]
        .assert_eq(&outline(&at_once));
    }

    #[test]
    fn a_pod_without_such_a_rule_has_no_such_condition() {
        let pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let seen = observed(vec![sandbox(0, true, 0)], vec![instance("c", 0, 1, running(1))]);
        let status = pod_status(&pod, &seen, None, None, &sample::policy(), &[], at(9));
        let mut conditions = status.conditions.iter().flatten();
        assert!(conditions.all(|condition| condition.type_ != CONDITION));
    }
}
