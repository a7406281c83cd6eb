//! A pod's row in a table, by kubectl's rules (`printPod` in pkg/printers/internalversion). Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Pod, PodStatus};

use super::age;

/// The reason of a pod that the scheduler may not place yet.
const SCHEDULING_GATED: &str = "SchedulingGated";

/// The computed cells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PodRow {
    /// `1/2`
    pub(crate) ready: String,
    /// `Running`, `Init:0/1`, `CrashLoopBackOff`, …
    pub(crate) status: String,
    /// `3 (5m ago)`
    pub(crate) restarts: String,
    /// The number of restarts alone.
    pub(crate) restart_count: i32,
}

/// The number of restarts, and when the previous instance ended.
#[derive(Default, Clone, Copy)]
struct Restarts {
    count: i32,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &ContainerStatus) {
        self.count += status.restart_count;
        let ended = status
            .last_state
            .as_ref()
            .and_then(|last| last.terminated.as_ref());
        let finished = ended
            .and_then(|ended| ended.finished_at.as_ref())
            .map(|time| time.0);
        self.last = self.last.max(finished);
    }
}

/// The result of one pass over the containers.
struct Found {
    reason: String,
    ready: usize,
    restarts: Restarts,
}

/// The row of a pod.
pub(crate) fn row(pod: &Pod, now: Timestamp) -> PodRow {
    let none = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&none);
    let spec = pod.spec.as_ref();
    let init: &[Container] = spec
        .and_then(|spec| spec.init_containers.as_deref())
        .unwrap_or_default();
    let sidecars = init.iter().filter(|container| is_sidecar(container)).count();
    let total = spec.map_or(0, |spec| spec.containers.len()) + sidecars;

    let phase = status.phase.as_deref().unwrap_or_default();
    let reason = status
        .reason
        .as_deref()
        .filter(|reason| !reason.is_empty())
        .unwrap_or(phase);
    let reason = match is_gated(status) {
        true => SCHEDULING_GATED,
        false => reason,
    };
    let (initializing, mut found, sidecar_restarts) = init_containers(status, init, reason);
    if !initializing || has_condition(status, "Initialized") {
        found.restarts = sidecar_restarts;
        found = containers(status, found);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        if status.reason.as_deref() == Some("NodeLost") {
            found.reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            found.reason = "Terminating".to_owned();
        }
    }
    let restarts = match (found.restarts.count, found.restarts.last) {
        (count, Some(last)) if count != 0 => format!("{count} ({} ago)", age::since(last, now)),
        (count, _) => count.to_string(),
    };
    PodRow {
        ready: format!("{}/{total}", found.ready),
        status: found.reason,
        restarts,
        restart_count: found.restarts.count,
    }
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether the scheduler may not place it yet.
fn is_gated(status: &PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|condition| {
        condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some(SCHEDULING_GATED)
    })
}

fn has_condition(status: &PodStatus, kind: &str) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|condition| condition.type_ == kind && condition.status == "True")
}

/// The first incomplete init container decides the status.
fn init_containers(status: &PodStatus, init: &[Container], reason: &str) -> (bool, Found, Restarts) {
    let mut found = Found {
        reason: reason.to_owned(),
        ready: 0,
        restarts: Restarts::default(),
    };
    let mut sidecars = Restarts::default();
    for (i, container) in status.init_container_statuses.iter().flatten().enumerate() {
        found.restarts.add(container);
        let sidecar = init
            .iter()
            .any(|one| one.name == container.name && is_sidecar(one));
        if sidecar {
            sidecars.add(container);
        }
        let state = container.state.as_ref();
        let terminated = state.and_then(|state| state.terminated.as_ref());
        let waiting = state
            .and_then(|state| state.waiting.as_ref())
            .and_then(|waiting| waiting.reason.as_deref());
        found.reason = match (terminated, waiting) {
            (Some(ended), _) if ended.exit_code == 0 => continue,
            _ if sidecar && container.started == Some(true) => {
                found.ready += usize::from(container.ready);
                continue;
            }
            (Some(ended), _) => format!("Init:{}", ending(ended)),
            (None, Some(reason)) if !reason.is_empty() && reason != "PodInitializing" => {
                format!("Init:{reason}")
            }
            _ => format!("Init:{i}/{}", init.len()),
        };
        return (true, found, sidecars);
    }
    (false, found, sidecars)
}

fn ending(ended: &ContainerStateTerminated) -> String {
    match (ended.reason.as_deref(), ended.signal) {
        (Some(reason), _) if !reason.is_empty() => reason.to_owned(),
        (_, Some(signal)) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", ended.exit_code),
    }
}

fn containers(status: &PodStatus, mut found: Found) -> Found {
    let mut running = false;
    // From last to first, so that the first container with trouble wins.
    for container in status
        .container_statuses
        .as_deref()
        .unwrap_or_default()
        .iter()
        .rev()
    {
        found.restarts.add(container);
        let state = container.state.as_ref();
        let waiting = state
            .and_then(|state| state.waiting.as_ref())
            .and_then(|waiting| waiting.reason.as_deref());
        let terminated = state.and_then(|state| state.terminated.as_ref());
        if let Some(reason) = waiting.filter(|reason| !reason.is_empty()) {
            found.reason = reason.to_owned();
        } else if let Some(ended) = terminated {
            found.reason = ending(ended);
        } else if container.ready && state.is_some_and(|state| state.running.is_some()) {
            running = true;
            found.ready += 1;
        }
    }
    if found.reason == "Completed" && running {
        let ready = has_condition(status, "Ready");
        found.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A pod of the containers `a`, `b`, the init container `i` and the sidecar `s`.
    fn check(pod: Value, expected: (&str, &str, &str)) {
        let spec = json!({
            "containers": [{"name": "a"}, {"name": "b"}],
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        });
        let mut whole = json!({"metadata": {"name": "p"}, "spec": spec});
        for (key, value) in pod.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let pod = serde_json::from_value(whole).unwrap();
        let row = row(&pod, "2026-11-21T00:10:00Z".parse().unwrap());
        assert_eq!(
            (row.ready.as_str(), row.status.as_str(), row.restarts.as_str()),
            expected
        );
    }

    fn container(name: &str, ready: bool, restarts: i32, state: Value) -> Value {
        json!({
            "name": name, "ready": ready, "started": ready, "restartCount": restarts, "image": "", "imageID": "",
            "state": state, "lastState": if restarts > 0 {
                json!({"terminated": {"exitCode": 1, "finishedAt": "2026-11-21T00:05:00Z"}})
            } else { json!({}) },
        })
    }

    fn status(init: Vec<Value>, main: Vec<Value>) -> Value {
        json!({"status": {"phase": "Running", "initContainerStatuses": init, "containerStatuses": main}})
    }

    fn done() -> Value {
        json!({"terminated": {"exitCode": 0, "reason": "Completed"}})
    }

    fn runs() -> Value {
        json!({"running": {}})
    }

    #[test]
    fn a_pod_without_any_status() {
        check(json!({}), ("0/3", "", "0"));
        check(json!({"status": {"phase": "Pending"}}), ("0/3", "Pending", "0"));
        check(
            json!({"status": {"phase": "Failed", "reason": "Evicted"}}),
            ("0/3", "Evicted", "0"),
        );
    }

    #[test]
    fn initialising() {
        let waits = |reason: &str| json!({"waiting": {"reason": reason}});
        let idle = || vec![container("a", false, 0, waits("PodInitializing"))];
        let i = |state: Value, restarts: i32| vec![container("i", false, restarts, state)];
        check(status(i(runs(), 0), idle()), ("0/3", "Init:0/2", "0"));
        check(
            status(i(waits("CrashLoopBackOff"), 3), idle()),
            ("0/3", "Init:CrashLoopBackOff", "3 (5m ago)"),
        );
        check(
            status(i(json!({"terminated": {"exitCode": 2}}), 0), idle()),
            ("0/3", "Init:ExitCode:2", "0"),
        );
        let failed = json!({"terminated": {"exitCode": 2, "reason": "Error"}});
        check(status(i(failed, 0), idle()), ("0/3", "Init:Error", "0"));
        let sidecar = vec![container("i", false, 0, done()), container("s", false, 0, runs())];
        check(status(sidecar, idle()), ("0/3", "Init:1/2", "0"));
    }

    #[test]
    fn running_and_crashing() {
        let init = |restarts| {
            vec![
                container("i", false, 7, done()),
                container("s", true, restarts, runs()),
            ]
        };
        let a = |state| container("a", false, 4, state);
        let b = || container("b", true, 0, runs());
        check(
            status(init(0), vec![container("a", true, 0, runs()), b()]),
            ("3/3", "Running", "0"),
        );
        check(
            status(init(1), vec![container("a", true, 4, runs()), b()]),
            ("3/3", "Running", "5 (5m ago)"),
        );
        check(
            status(
                init(0),
                vec![a(json!({"waiting": {"reason": "CrashLoopBackOff"}})), b()],
            ),
            ("2/3", "CrashLoopBackOff", "4 (5m ago)"),
        );
        let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        check(
            status(init(0), vec![a(killed), b()]),
            ("2/3", "OOMKilled", "4 (5m ago)"),
        );
        check(
            status(
                init(0),
                vec![a(json!({"terminated": {"exitCode": 137, "signal": 9}})), b()],
            ),
            ("2/3", "Signal:9", "4 (5m ago)"),
        );
    }

    #[test]
    fn partly_completed() {
        let init = vec![container("i", false, 0, done()), container("s", true, 0, runs())];
        let mut pod = status(
            init,
            vec![container("a", false, 0, done()), container("b", true, 0, runs())],
        );
        check(pod.clone(), ("2/3", "NotReady", "0"));
        pod["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
        check(pod, ("2/3", "Running", "0"));
    }

    #[test]
    fn terminating() {
        let mut pod = status(
            vec![],
            vec![container("a", true, 0, runs()), container("b", true, 0, runs())],
        );
        pod["metadata"] = json!({"name": "p", "deletionTimestamp": "2026-11-21T00:00:00Z"});
        check(pod.clone(), ("2/3", "Terminating", "0"));
        pod["status"]["phase"] = json!("Succeeded");
        check(pod, ("2/3", "Succeeded", "0"));
    }
}
