//! Determines what a pod needs by comparing its desired state with the observed one: the kubelet's `computePodActions`
//! and `computeInitContainerActions` (`pkg/kubelet/kuberuntime`). When and how is decided elsewhere.

use std::time::Duration;

use super::{ephemeral, resize};
use crate::model::health::Verdict;
use crate::model::pod::{Container, Pod, RestartPolicy};
use crate::model::probe::ProbeKind;
use crate::model::runtime::{ContainerState, ObservedContainer, ObservedPod, Sandbox};

/// What a pod needs now.
#[derive(Debug)]
pub(super) enum Need<'a> {
    /// The pod has ended: none of its containers may run.
    End,
    /// A sandbox with that attempt number, and these containers in it.
    Sandbox { attempt: u32, start: Vec<&'a Container> },
    /// All containers anew, because of the end of this one.
    RestartAll(&'a ObservedContainer),
    /// Containers, in the existing sandbox.
    Containers {
        sandbox: &'a Sandbox,
        stop: Vec<Stop<'a>>,
        start: Vec<&'a Container>,
    },
}

/// A container to stop, and the event's message.
#[derive(Debug)]
pub(super) struct Stop<'a> {
    pub(super) instance: &'a ObservedContainer,
    pub(super) message: String,
    /// The grace period from a probe; `None`: the pod's.
    pub(super) grace: Option<Duration>,
}

/// Whether the pod, which nobody deletes, has ended by itself: none of its containers may run.
pub(super) fn has_come_to_its_end(pod: &Pod, seen: &ObservedPod) -> bool {
    matches!(need(pod, seen), Need::End)
}

/// Compares desired and observed state. Not called for a pod that the node has decided to end, or that is being
/// deleted.
pub(super) fn need<'a>(pod: &'a Pod, seen: &'a ObservedPod) -> Need<'a> {
    // A pod that has ended by itself stays ended (`GenerateAllContainersRestartingCondition` in
    // `pkg/kubelet/status/generate.go`).
    if let Some(source) = seen.restarts_all(pod).filter(|_| !has_ended(pod, seen)) {
        return Need::RestartAll(source);
    }
    match seen.usable_sandbox(pod.namespaces.host_network) {
        Some(sandbox) => in_sandbox(pod, seen, sandbox),
        None => {
            let attempt = seen
                .sandboxes
                .first()
                .map_or(0, |last| last.attempt.saturating_add(1));
            without_sandbox(pod, seen, attempt)
        }
    }
}

fn without_sandbox<'a>(pod: &'a Pod, seen: &ObservedPod, attempt: u32) -> Need<'a> {
    let ran = attempt > 0 && !seen.containers.is_empty();
    if pod.restart_policy == RestartPolicy::Never && ran || has_ended(pod, seen) {
        return Need::End;
    }
    let done = |container: &Container| {
        container.restart == RestartPolicy::OnFailure
            && seen.container(&container.name).is_some_and(|instance| {
                !instance.has_failed() && instance.finished().is_some() && !seen.is_restarting(instance)
            })
    };
    let start: Vec<_> = pod
        .containers
        .iter()
        .filter(|container| !done(container))
        .collect();
    let was_initialized = pod.containers.iter().any(|container| {
        seen.container(&container.name)
            .is_some_and(|instance| instance.state != ContainerState::Unknown)
    });
    match pod.init_containers.first() {
        _ if start.is_empty() && was_initialized => Need::End,
        Some(first) => Need::Sandbox {
            attempt,
            start: vec![first],
        },
        None => Need::Sandbox { attempt, start },
    }
}

/// Whether the pod has ended by itself, which no new sandbox undoes: all containers have ended according to their
/// restart policies, or an init container has failed for good.
fn has_ended(pod: &Pod, seen: &ObservedPod) -> bool {
    let last = seen.sandboxes.first().map(|sandbox| sandbox.id.as_str());
    let failed = |container: &Container| {
        let here = seen
            .container(&container.name)
            .filter(|instance| Some(instance.sandbox.as_str()) == last);
        let state = here.map(|instance| &instance.state);
        let in_vain = matches!(state, Some(ContainerState::Exited { code, .. }) if *code != 0);
        !container.sidecar && in_vain && ended(container, seen)
    };
    all_ended(pod, seen) || pod.init_containers.iter().any(failed)
}

/// Whether all regular containers have ended according to their restart policies.
fn all_ended(pod: &Pod, seen: &ObservedPod) -> bool {
    pod.containers.iter().all(|container| ended(container, seen))
}

fn ended(container: &Container, seen: &ObservedPod) -> bool {
    let instance = seen.container(&container.name);
    instance.is_some_and(|instance| instance.finished().is_some()) && !seen.must_start(container)
}

fn in_sandbox<'a>(pod: &'a Pod, seen: &'a ObservedPod, sandbox: &'a Sandbox) -> Need<'a> {
    // An end that was interrupted goes on: a sidecar that it has stopped does not start again.
    if all_ended(pod, seen) {
        return Need::End;
    }
    let mut stop = strays(pod, seen, sandbox);
    // Started before the init containers, which may be what the user wants to debug.
    let added = ephemeral::due(pod, seen);
    let (init, mut start) = match initialize(pod, seen, sandbox, &mut stop) {
        Init::Failed => return Need::End,
        Init::Pending(start) => {
            let start = added.chain(start).collect();
            return Need::Containers { sandbox, stop, start };
        }
        Init::Done(sidecars) => (sidecars.len(), sidecars),
    };
    let mut kept = 0;
    for container in &pod.containers {
        let instance = seen.container(&container.name);
        match instance {
            Some(running) if matches!(running.state, ContainerState::Running { .. }) => {
                if let Some((condemned, restarts)) = condemned(container, running, seen) {
                    stop.push(condemned);
                    start.extend(Some(container).filter(|_| restarts));
                } else {
                    kept += 1;
                }
            }
            _ if seen.must_start(container) => {
                stop.extend(instance.and_then(|instance| try_killing(instance, "Container")));
                start.push(container);
            }
            _ => {}
        }
    }
    match kept == 0 && start.len() == init {
        // Neither sidecars nor ephemeral containers keep a pod alive.
        true => Need::End,
        false => Need::Containers {
            sandbox,
            stop,
            start: added.chain(start).collect(),
        },
    }
}

/// Instances that may run but do not count: in another sandbox, or older than the newest one. Only the pod's container
/// names: other containers in the sandbox belong to others.
fn strays<'a>(pod: &Pod, seen: &'a ObservedPod, sandbox: &Sandbox) -> Vec<Stop<'a>> {
    let counts = |instance: &ObservedContainer| {
        instance.sandbox == sandbox.id
            && seen
                .container(&instance.name)
                .is_some_and(|newest| newest.id == instance.id)
    };
    let known = |instance: &ObservedContainer| pod.all_containers().any(|c| c.name == instance.name);
    seen.containers
        .iter()
        .filter(|instance| instance.may_run() && known(instance) && !counts(instance))
        .map(|instance| Stop {
            instance,
            message: stopping(&instance.name),
            grace: None,
        })
        .collect()
}

/// The progress of the init containers.
enum Init<'a> {
    /// One failed for good.
    Failed,
    /// Not complete: these start now.
    Pending(Vec<&'a Container>),
    /// Complete: these sidecars have to be started again.
    Done(Vec<&'a Container>),
}

/// Searches from the last init container backwards, because completed ones may have been removed: the last one with a
/// trace shows how far the pod got; before it only the sidecars matter. Traces in an earlier sandbox do not count.
fn initialize<'a>(
    pod: &'a Pod,
    seen: &'a ObservedPod,
    sandbox: &Sandbox,
    stop: &mut Vec<Stop<'a>>,
) -> Init<'a> {
    let here = |container: &Container| {
        seen.container(&container.name)
            .filter(|instance| instance.sandbox == sandbox.id)
    };
    let all = &pod.init_containers;
    let mut through = all.is_empty() || pod.containers.iter().filter_map(here).any(was_let_in);
    let mut traced = through;
    let mut start = Vec::new();
    for (index, container) in all.iter().enumerate().rev() {
        let instance = here(container);
        if traced && !container.sidecar {
            continue;
        }
        let Some(instance) = instance else {
            start.extend(Some(container).filter(|_| traced));
            continue;
        };
        let trace = trace(container, instance, seen);
        match trace {
            Trace::Failed => return Init::Failed,
            Trace::Restart | Trace::Changed | Trace::Resized | Trace::Unwell(_) => start.push(container),
            Trace::Works | Trace::Complete => {}
        }
        stop.extend(to_stop(container, instance, trace));
        let is_through = matches!(
            trace,
            Trace::Complete | Trace::Changed | Trace::Resized | Trace::Unwell(ProbeKind::Liveness)
        );
        if is_through {
            match all.get(index + 1) {
                None => through = true,
                Some(next) if !traced => start.push(next),
                Some(_) => {}
            }
        }
        traced = true;
    }
    if !traced {
        start.extend(all.first());
    }
    // In the manifest's order, not in the order of the search.
    start.sort_by_key(|wanted| all.iter().position(|container| container.name == wanted.name));
    match through {
        true => Init::Done(start),
        false => Init::Pending(start),
    }
}

/// What the newest instance of an init container indicates.
#[derive(Clone, Copy)]
enum Trace {
    /// It is running.
    Works,
    /// The next container no longer waits for it.
    Complete,
    /// It completed or runs, but from an older definition: it is created again beside it.
    Changed,
    /// The same, and it is created again to get other resources.
    Resized,
    /// A sidecar whose probe of that kind failed: it is stopped and created again. Even if it no longer works, the next
    /// container need not wait for it.
    Unwell(ProbeKind),
    /// It has to be started or restarted.
    Restart,
    /// It failed, and is not retried.
    Failed,
}

fn trace(container: &Container, instance: &ObservedContainer, seen: &ObservedPod) -> Trace {
    match &instance.state {
        ContainerState::Created => Trace::Restart,
        ContainerState::Running { .. } if !container.sidecar => Trace::Works,
        ContainerState::Running { .. } if !instance.has_started(container) => {
            match instance.verdict(ProbeKind::Startup) {
                Verdict::Failure => Trace::Unwell(ProbeKind::Startup),
                _ => Trace::Works,
            }
        }
        ContainerState::Running { .. } if changed(container, instance) => Trace::Changed,
        ContainerState::Running { .. } if instance.failed_probe(container).is_some() => {
            Trace::Unwell(ProbeKind::Liveness)
        }
        ContainerState::Running { .. } if resize::restarts(container, instance, seen) => Trace::Resized,
        ContainerState::Running { .. } => Trace::Complete,
        ContainerState::Exited { .. } | ContainerState::Unknown if container.sidecar => Trace::Restart,
        ContainerState::Exited { .. } if !instance.has_failed() => Trace::Complete,
        ContainerState::Exited { code, .. } if container.restarts_after(*code) => Trace::Restart,
        // Without an exit code no rule applies, and a container killed for lack of memory may report 0.
        _ if container.restart == RestartPolicy::Never => Trace::Failed,
        _ => Trace::Restart,
    }
}

fn to_stop<'a>(container: &Container, instance: &'a ObservedContainer, trace: Trace) -> Option<Stop<'a>> {
    match trace {
        Trace::Changed => Some(Stop {
            instance,
            message: format!("Init container {} definition changed", container.name),
            grace: None,
        }),
        Trace::Resized => Some(resized(instance)),
        Trace::Unwell(kind) => Some(Stop {
            instance,
            message: format!("Init container {} {}", container.name, failed(kind)),
            grace: grace(container, kind),
        }),
        _ => try_killing(instance, "Init container"),
    }
}

/// Whether a regular container proves that the init containers were complete.
fn was_let_in(instance: &ObservedContainer) -> bool {
    matches!(
        instance.state,
        ContainerState::Created | ContainerState::Running { .. }
    )
}

/// Whether an instance was made from another definition. If its hash cannot be read, it counts as unchanged: nothing is
/// stopped on a guess.
pub(super) fn changed(container: &Container, instance: &ObservedContainer) -> bool {
    instance.hash != 0 && instance.hash != container.hash
}

/// A container in state unknown may be running: it is stopped first, so that it never runs twice.
fn try_killing<'a>(instance: &'a ObservedContainer, what: &str) -> Option<Stop<'a>> {
    (instance.state == ContainerState::Unknown).then(|| Stop {
        instance,
        message: format!("{what} is in \"unknown\" state, try killing it before restart"),
        grace: None,
    })
}

/// Stops a running container that must not go on. It is started again if its definition changed; if a probe failed, its
/// restart policy decides.
fn condemned<'a>(
    container: &Container,
    running: &'a ObservedContainer,
    seen: &ObservedPod,
) -> Option<(Stop<'a>, bool)> {
    let (why, grace, restarts) = match running.failed_probe(container) {
        _ if changed(container, running) => ("definition changed".to_owned(), None, true),
        Some(kind) => {
            let restarts = container.restart != RestartPolicy::Never;
            (failed(kind), grace(container, kind), restarts)
        }
        None if resize::restarts(container, running, seen) => return Some((resized(running), true)),
        None => return None,
    };
    let then = if restarts { ", will be restarted" } else { "" };
    let stop = Stop {
        instance: running,
        message: format!("Container {} {why}{then}", container.name),
        grace,
    };
    Some((stop, restarts))
}

/// The stop of a container that gets other resources only by a restart.
fn resized(running: &ObservedContainer) -> Stop<'_> {
    Stop {
        instance: running,
        message: format!("Container {} resize requires restart", running.name),
        grace: None,
    }
}

/// Why a container is stopped.
fn failed(kind: ProbeKind) -> String {
    format!("failed {} probe", kind.title().to_lowercase())
}

/// The grace period of the failed probe (`setTerminationGracePeriod`).
fn grace(container: &Container, kind: ProbeKind) -> Option<Duration> {
    container.probes.get(kind)?.grace
}

/// The event's message of an ordinary stop.
pub(super) fn stopping(container: &str) -> String {
    format!("Stopping container {container}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::model::checkpoint::Checkpoint;
    use crate::model::health::Health;
    use crate::model::probe::{Action, Probe};
    use crate::model::restart::{ExitCodes, RestartAction, RestartRule};
    use crate::model::sample::{self, exited, instance, running, sandbox};

    use RestartPolicy::{Always, Never, OnFailure};

    fn probe() -> Option<Probe> {
        Some(Probe {
            action: Action::Exec(Vec::new()),
            initial_delay: Duration::ZERO,
            timeout: Duration::from_secs(1),
            period: Duration::from_secs(10),
            successes: 1,
            failures: 3,
            grace: Some(Duration::from_secs(7)),
        })
    }

    /// The results of its probes: startup and liveness.
    fn health(startup: Verdict, liveness: Verdict) -> Option<Box<Health>> {
        let mut health = Health::default();
        health.get_mut(ProbeKind::Startup).verdict = startup;
        health.get_mut(ProbeKind::Liveness).verdict = liveness;
        Some(Box::new(health))
    }

    /// What is stopped, with its own grace period if it has one, and what is started.
    fn text(need: &Need<'_>) -> String {
        match need {
            Need::RestartAll(source) => format!("all, because of {}", source.id),
            Need::End => "end".to_owned(),
            Need::Sandbox { start, .. } => format!("sandbox, start {}", start.len()),
            Need::Containers { stop, start, .. } => {
                let stop = stop.iter().map(|stop| {
                    let grace = stop
                        .grace
                        .map_or(String::new(), |grace| format!(" {}s", grace.as_secs()));
                    format!("stop {}{grace} ({})", stop.instance.name, stop.message)
                });
                let start = start.iter().map(|container| format!("start {}", container.name));
                stop.chain(start).collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// One of two containers; the other one runs.
    fn check(
        change: impl FnOnce(&mut Container),
        instance: ObservedContainer,
        saved: Checkpoint,
        expected: &str,
    ) {
        let mut pod = sample::pod(Always, &[], &["c", "other"]);
        pod.containers[0].probes.startup = probe();
        pod.containers[0].probes.liveness = probe();
        change(&mut pod.containers[0]);
        let seen = ObservedPod {
            sandboxes: vec![sandbox(0, true, 0)],
            containers: vec![instance, sample::instance("other", 0, 1, running(1))],
            checkpoint: Some(Arc::new(saved)),
            ..ObservedPod::default()
        };
        let needed = need(&pod, &seen);
        assert_eq!(
            text(&needed),
            expected,
            "{:?} {:?}",
            pod.containers[0].restart,
            seen.containers[0]
        );
    }

    /// Each row of `computePodActions` for a running container: a change is checked before the probes, and the
    /// container is started again whatever the policy.
    #[test]
    fn a_container_that_runs_is_ended_for_its_definition_and_its_probes() {
        use Verdict::{Failure, Success, Unknown};
        let changed = "stop c (Container c definition changed, will be restarted), start c";
        let by_probe = |kind: &str, restarts: bool| match restarts {
            true => format!("stop c 7s (Container c failed {kind} probe, will be restarted), start c"),
            false => format!("stop c 7s (Container c failed {kind} probe)"),
        };
        let rules = || {
            vec![RestartRule {
                codes: ExitCodes::In(vec![0, 137, 143]),
                action: RestartAction::Restart,
            }]
        };
        for (restart, restarts) in [(Always, true), (OnFailure, true), (Never, false)] {
            for (startup, liveness, is_changed, expected) in [
                (Success, Success, false, String::new()),
                (Unknown, Unknown, false, String::new()),
                (Success, Failure, false, by_probe("liveness", restarts)),
                (Failure, Unknown, false, by_probe("startup", restarts)),
                (Success, Success, true, changed.to_owned()),
                (Success, Failure, true, changed.to_owned()),
                (Failure, Unknown, true, changed.to_owned()),
                (Unknown, Unknown, true, changed.to_owned()),
            ] {
                let of = ObservedContainer {
                    health: health(startup, liveness),
                    ..instance("c", 0, 1, running(1))
                };
                let change = |container: &mut Container| {
                    container.restart = restart;
                    container.hash += u32::from(is_changed);
                    // Rules need an exit code, and there is none yet.
                    container.restart_rules = rules();
                };
                check(change, of, Checkpoint::default(), &expected);
            }
        }
    }

    /// `ShouldContainerBeRestarted` for one that has ended: its definition does not matter, but one that was stopped to
    /// be started again is.
    #[test]
    fn a_container_that_has_ended_is_started_by_its_policy_or_because_it_was_ended_for_that() {
        let restarting = |id: &str| Checkpoint {
            restarting: BTreeMap::from([("c".to_owned(), id.to_owned())]),
            ..Checkpoint::default()
        };
        for is_changed in [false, true] {
            for (restart, code, saved, starts) in [
                (Always, 0, Checkpoint::default(), true),
                (Always, 1, Checkpoint::default(), true),
                (OnFailure, 0, Checkpoint::default(), false),
                (OnFailure, 1, Checkpoint::default(), true),
                (Never, 0, Checkpoint::default(), false),
                (Never, 137, Checkpoint::default(), false),
                (OnFailure, 0, restarting("c2"), true),
                (Never, 0, restarting("c2"), true),
                (Never, 137, restarting("c2"), true),
                // The result belongs to an earlier instance, which was started again since.
                (OnFailure, 0, restarting("c1"), false),
                (Never, 137, restarting("c1"), false),
            ] {
                let of = instance("c", 2, 1, exited(1, 5, code));
                let change = |container: &mut Container| {
                    container.restart = restart;
                    container.hash += u32::from(is_changed);
                };
                check(change, of, saved, if starts { "start c" } else { "" });
            }
        }
        let unknown = || instance("c", 2, 1, ContainerState::Unknown);
        let kill = r#"stop c (Container is in "unknown" state, try killing it before restart), start c"#;
        for restart in [Always, OnFailure, Never] {
            check(
                |container| container.restart = restart,
                unknown(),
                Checkpoint::default(),
                kill,
            );
        }
    }

    /// If the only container of a pod was stopped to be started again, the pod stays, whatever its exit code.
    #[test]
    fn a_pod_whose_only_container_is_to_be_started_again_has_not_ended() {
        for (restart, code) in [(OnFailure, 0), (Never, 0), (Never, 137)] {
            let pod = sample::pod(restart, &[], &["c"]);
            let seen = |restarting: bool, ready: bool| ObservedPod {
                sandboxes: vec![sandbox(0, ready, 0)],
                containers: vec![instance("c", 0, 1, exited(1, 5, code))],
                checkpoint: restarting.then(|| {
                    Arc::new(Checkpoint {
                        restarting: BTreeMap::from([("c".to_owned(), "c0".to_owned())]),
                        ..Checkpoint::default()
                    })
                }),
                ..ObservedPod::default()
            };
            assert_eq!(text(&need(&pod, &seen(false, true))), "end", "{restart:?} {code}");
            assert_eq!(
                text(&need(&pod, &seen(true, true))),
                "start c",
                "{restart:?} {code}"
            );
        }
    }

    /// Each row of `computeInitContainerActions` for a running sidecar.
    #[test]
    fn a_sidecar_that_runs_is_ended_for_its_definition_and_its_probes() {
        use Verdict::{Failure, Success, Unknown};
        for (startup, liveness, is_changed, expected) in [
            (Success, Success, false, ""),
            // Whether it has started is not known yet, and nothing else is checked.
            (Unknown, Failure, true, ""),
            (
                Failure,
                Unknown,
                true,
                "stop s 7s (Init container s failed startup probe), start s",
            ),
            (
                Success,
                Failure,
                false,
                "stop s 7s (Init container s failed liveness probe), start s",
            ),
            (
                Success,
                Failure,
                true,
                "stop s (Init container s definition changed), start s",
            ),
            (
                Success,
                Success,
                true,
                "stop s (Init container s definition changed), start s",
            ),
        ] {
            for restart in [Always, OnFailure, Never] {
                let mut pod = sample::pod(restart, &["+s"], &["c"]);
                pod.init_containers[0].probes.startup = probe();
                pod.init_containers[0].probes.liveness = probe();
                pod.init_containers[0].hash += u32::from(is_changed);
                let sidecar = ObservedContainer {
                    health: health(startup, liveness),
                    ..instance("s", 0, 1, running(1))
                };
                let seen = ObservedPod {
                    sandboxes: vec![sandbox(0, true, 0)],
                    containers: vec![instance("c", 0, 2, running(2)), sidecar],
                    ..ObservedPod::default()
                };
                let needed = need(&pod, &seen);
                assert_eq!(
                    text(&needed),
                    expected,
                    "{restart:?} {startup:?} {liveness:?} {is_changed}"
                );
            }
        }
    }
}
