//! The restart of all containers of a pod after the end of one of them, in the same sandbox (KEP-5532, the action
//! `RestartAllContainers`; `getContainersToReset` in `pkg/kubelet/kuberuntime/kuberuntime_manager.go`).
//!
//! It takes up to three plans, each of which begins when the one before it has been observed: all containers are
//! stopped, then removed, then the ended ones that caused the restart. As long as one of these is there the restart goes
//! on, also in an agent that has just started; when it is gone the pod is as if it had just got its sandbox, and starts
//! with its first init container. Ephemeral containers are left alone.

use std::time::Duration;

use jiff::Timestamp;

use super::context::PlanContext;
use super::need::Stop;
use super::start::Stages;
use super::teardown;
use crate::model::checkpoint::Checkpoint;
use crate::model::runtime::{ContainerState, ObservedContainer};
use crate::model::step::Step;

/// The event's message of a stop, as in the kubelet.
const KILLING: &str = "killing";

/// The least time between a start and the restart of all containers that follows from it. As in the kubelet, the end that
/// causes such a restart has no back-off, since nothing is left that could have one; but the kubelet looks at its containers once a
/// second (`genericPlegRelistPeriod` in `pkg/kubelet/kubelet.go`), which bounds how often it restarts a pod that ends at
/// once.
const LEAST_RUN: Duration = Duration::from_secs(1);

/// The stages of the restart that the end of `source` causes.
pub(super) fn stages(context: PlanContext<'_>, source: &ObservedContainer) -> Stages {
    let PlanContext {
        pod,
        seen,
        policy,
        now,
        ..
    } = context;
    if let Some(due) = due(source).filter(|due| *due > now) {
        return Stages {
            stages: Vec::new(),
            waits_until: Some(due),
        };
    }
    let is_own = |instance: &&ObservedContainer| pod.own_container(&instance.name).is_some();
    let own = || seen.containers.iter().filter(is_own);
    let running: Vec<_> = own().filter(|instance| instance.may_run()).collect();
    let is_source = |instance: &ObservedContainer| {
        let mut sources = seen.restart_sources(pod);
        sources.any(|source| source.id == instance.id)
    };
    let remove = |instance| teardown::remove_all_but_log(&pod.name, instance, policy);
    let others = || own().filter(|instance| !is_source(instance));
    let stages = match (running.is_empty(), others().next().is_none()) {
        (false, _) => {
            let stops = running.iter().map(|instance| stop(instance, context));
            vec![save(context, &running).into_iter().collect(), stops.collect()]
        }
        (true, false) => vec![others().map(remove).collect()],
        (true, true) => vec![own().map(remove).collect()],
    };
    Stages {
        stages,
        waits_until: None,
    }
}

fn due(source: &ObservedContainer) -> Option<Timestamp> {
    match source.state {
        ContainerState::Exited {
            started: Some(started),
            finished,
            ..
        } => Some((started + LEAST_RUN).min(finished + LEAST_RUN)),
        _ => None,
    }
}

/// Without hook and grace period, of which only the least is left.
fn stop(instance: &ObservedContainer, context: PlanContext<'_>) -> Step {
    let stop = Stop {
        instance,
        message: KILLING.to_owned(),
        grace: Some(Duration::ZERO),
    };
    teardown::stop_one(&stop, context.pod, context.seen, context.policy)
}

/// The checkpoint that says which containers are stopped to be restarted: their ends are not the pod's. It knows one instance
/// of each, the newest.
fn save(context: PlanContext<'_>, running: &[&ObservedContainer]) -> Option<Step> {
    let PlanContext {
        pod, seen, policy, ..
    } = context;
    let is_newest = |instance: &&ObservedContainer| {
        let newest = seen.container(&instance.name);
        newest.is_some_and(|newest| newest.id == instance.id)
    };
    let stopped = seen
        .containers
        .iter()
        .filter(|instance| seen.is_restarting(instance));
    let all = running.iter().copied().filter(is_newest).chain(stopped);
    let wanted = Checkpoint {
        restarting: all
            .map(|instance| (instance.name.clone(), instance.id.clone()))
            .collect(),
        ..Checkpoint::of(pod)
    };
    let is_saved = seen.checkpoint.as_deref() == Some(&wanted);
    (!is_saved).then(|| teardown::save(&pod.uid, wanted, policy))
}
