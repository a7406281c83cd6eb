//! The conditions of a pod (`pkg/kubelet/status/generate.go`).

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::format::time;
use super::phase::{FAILED, SUCCEEDED};
use super::restart_all;
use crate::model::foreign_status::is_foreign;
use crate::model::pod::Pod;

const PODS_COMPLETED: &str = "PodCompleted";
const POD_FAILED: &str = "PodFailed";
const NOT_READY: &str = "ContainersNotReady";
const GATES_NOT_READY: &str = "ReadinessGatesNotReady";
const NOT_INITIALIZED: &str = "ContainersNotInitialized";

/// The inputs of conditions.
pub(super) struct ConditionContext<'a> {
    pub(super) pod: &'a Pod,
    pub(super) init: &'a [api::ContainerStatus],
    pub(super) regular: &'a [api::ContainerStatus],
    /// The phase that follows from the containers, even if it is not reported yet.
    pub(super) phase: &'static str,
    /// Whether there is a sandbox in which containers can be started.
    pub(super) has_sandbox: bool,
    /// Whether the end of a container restarts all of them; `None`: no end of one does.
    pub(super) restarting_all: Option<bool>,
    /// The conditions about a resize of the pod.
    pub(super) resize: Vec<api::PodCondition>,
    pub(super) previous: Option<&'a api::PodStatus>,
    pub(super) now: Timestamp,
}

/// Every condition that the kubelet owns, in its order.
pub(super) fn conditions(context: &ConditionContext<'_>) -> Vec<api::PodCondition> {
    let sandbox = match context.has_sandbox {
        true => Verdict::True,
        false => Verdict::False(None),
    };
    let mut all = context.resize.clone();
    all.push(condition(context, "PodReadyToStartContainers", sandbox));
    all.push(condition(context, "Initialized", initialized(context)));
    let containers = ready(context);
    let ready = gated(context, containers.clone(), &all);
    all.push(condition(context, "Ready", ready));
    all.push(condition(context, "ContainersReady", containers));
    all.push(condition(context, "PodScheduled", Verdict::True));
    all.extend(restarting_all(context).map(|verdict| condition(context, restart_all::CONDITION, verdict)));
    all
}

/// Whether all containers are about to be restarted (`GenerateAllContainersRestartingCondition`).
fn restarting_all(context: &ConditionContext<'_>) -> Option<Verdict> {
    let verdict = match (context.phase, context.restarting_all?) {
        (SUCCEEDED, _) => Verdict::False(Some((PODS_COMPLETED, String::new()))),
        (FAILED, _) => Verdict::False(Some((POD_FAILED, String::new()))),
        (_, false) => Verdict::False(None),
        (_, true) => Verdict::TrueFor(restart_all::STARTED, restart_all::MESSAGE),
    };
    Some(verdict)
}

#[derive(Clone)]
enum Verdict {
    True,
    /// True, for a reason with a message.
    TrueFor(&'static str, &'static str),
    /// False, for a reason with a message.
    False(Option<(&'static str, String)>),
}

fn condition(context: &ConditionContext<'_>, kind: &str, verdict: Verdict) -> api::PodCondition {
    let (status, reason, message) = match verdict {
        Verdict::True => ("True", None, None),
        Verdict::TrueFor(reason, message) => ("True", Some(reason), Some(message.to_owned())),
        Verdict::False(None) => ("False", None, None),
        Verdict::False(Some((reason, message))) => ("False", Some(reason), Some(message)),
    };
    let before = context.previous.and_then(|status| status.conditions.as_ref());
    let before = before.and_then(|all| all.iter().find(|c| c.type_ == kind && c.status == status));
    api::PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.map(str::to_owned),
        message: message.filter(|message| !message.is_empty()),
        last_transition_time: before
            .and_then(|before| before.last_transition_time.clone())
            .or_else(|| Some(time(context.now))),
        observed_generation: observed_generation(context.pod),
        last_probe_time: None,
    }
}

/// The generation of the manifest that a status refers to; static pods have none.
pub(super) fn observed_generation(pod: &Pod) -> Option<i64> {
    pod.object
        .metadata
        .generation
        .filter(|&generation| generation > 0)
}

/// The pod is ready when its containers are and every readiness gate is true: a condition that others set, or one of
/// the node's `own` that the kubelet has already set.
fn gated(context: &ConditionContext<'_>, containers: Verdict, own: &[api::PodCondition]) -> Verdict {
    if !matches!(containers, Verdict::True) {
        return containers;
    }
    let status = context.pod.object.status.as_ref();
    let others = status
        .into_iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let others = others.filter(|condition| is_foreign(&condition.type_));
    let conditions = others.chain(own);
    let mut shut = Vec::new();
    for gate in &context.pod.readiness_gates {
        match conditions.clone().find(|condition| condition.type_ == *gate) {
            None => shut.push(format!(
                "corresponding condition of pod readiness gate {gate:?} does not exist."
            )),
            Some(condition) if condition.status != "True" => shut.push(format!(
                "the status of pod readiness gate {gate:?} is not \"True\", but {}",
                condition.status
            )),
            Some(_) => {}
        }
    }
    match shut.is_empty() {
        true => Verdict::True,
        false => Verdict::False(Some((GATES_NOT_READY, shut.join(", ")))),
    }
}

/// Whether the containers are ready.
fn ready(context: &ConditionContext<'_>) -> Verdict {
    let sidecars = context
        .pod
        .init_containers
        .iter()
        .filter(|container| container.sidecar);
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for container in sidecars.chain(&context.pod.containers) {
        match status(context, &container.name) {
            Some(status) if status.ready => {}
            Some(_) => unready.push(container.name.as_str()),
            None => unknown.push(container.name.as_str()),
        }
    }
    match context.phase {
        SUCCEEDED if unknown.is_empty() => return Verdict::False(Some((PODS_COMPLETED, String::new()))),
        FAILED => return Verdict::False(Some((POD_FAILED, String::new()))),
        _ => {}
    }
    match message(&unknown, "unready", &unready) {
        Some(message) => Verdict::False(Some((NOT_READY, message))),
        None => Verdict::True,
    }
}

fn initialized(context: &ConditionContext<'_>) -> Verdict {
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for container in &context.pod.init_containers {
        match status(context, &container.name) {
            Some(status) if container.sidecar && status.started == Some(true) => {}
            Some(status) if !container.sidecar && status.ready => {}
            Some(_) => incomplete.push(container.name.as_str()),
            None => unknown.push(container.name.as_str()),
        }
    }
    if context.phase == SUCCEEDED && unknown.is_empty() {
        return Verdict::TrueFor(PODS_COMPLETED, "");
    }
    let started = |status: &api::ContainerStatus| {
        let state = status.state.as_ref();
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    // Sidecars that are being restarted do not make a pod uninitialized.
    if context.regular.iter().any(started) {
        return Verdict::True;
    }
    // Nor does the restart of all containers, in which init containers run again.
    if context.restarting_all.is_some() && was_initialized(context) {
        return Verdict::True;
    }
    match message(&unknown, "incomplete", &incomplete) {
        Some(message) => Verdict::False(Some((NOT_INITIALIZED, message))),
        None => Verdict::True,
    }
}

fn was_initialized(context: &ConditionContext<'_>) -> bool {
    let before = context.previous.and_then(|status| status.conditions.as_ref());
    let mut before = before.into_iter().flatten();
    before.any(|condition| condition.type_ == "Initialized" && condition.status == "True")
}

fn status<'a>(context: &ConditionContext<'a>, name: &str) -> Option<&'a api::ContainerStatus> {
    context
        .init
        .iter()
        .chain(context.regular)
        .find(|status| status.name == name)
}

fn message(unknown: &[&str], fault: &str, faulty: &[&str]) -> Option<String> {
    let parts = [("unknown", unknown), (fault, faulty)];
    let parts: Vec<_> = parts
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("containers with {what} status: [{}]", names.join(" ")))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
