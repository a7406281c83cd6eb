//! What a pod needs, by comparing what it shall be with what there is: the kubelet's `computePodActions` and
//! `computeInitContainerActions` (`pkg/kubelet/kuberuntime`). When and how is decided elsewhere.

use std::time::Duration;

use super::{ephemeral, resize};
use crate::model::health::Verdict;
use crate::model::pod::{Container, Pod, RestartPolicy};
use crate::model::probe::ProbeKind;
use crate::model::runtime::{ContainerState, ObservedContainer, ObservedPod, Sandbox, shall_start};

/// What a pod needs now.
#[derive(Debug)]
pub(super) enum Need<'a> {
    /// It has ended: nothing of it shall run.
    End,
    /// A sandbox with that attempt number, and these containers in it.
    Sandbox { attempt: u32, start: Vec<&'a Container> },
    /// Containers, in the sandbox that it has.
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
    /// The grace that a probe gives; `None`: the pod's.
    pub(super) grace: Option<Duration>,
}

/// Compares. A pod whose end the node has decided, or whose deletion was asked for, does not come here.
pub(super) fn need<'a>(pod: &'a Pod, seen: &'a ObservedPod) -> Need<'a> {
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
            && seen
                .container(&container.name)
                .is_some_and(|instance| !instance.has_failed() && instance.finished().is_some())
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

/// Whether the pod has come to its end by itself, which no new sandbox undoes: its containers state their own policies
/// and have ended by them, or an init container has failed for good.
fn has_ended(pod: &Pod, seen: &ObservedPod) -> bool {
    let ended = |container: &Container| {
        let instance = seen.container(&container.name);
        instance.is_some_and(|instance| instance.finished().is_some()) && !shall_start(container, instance)
    };
    let last = seen.sandboxes.first().map(|sandbox| sandbox.id.as_str());
    let failed = |container: &Container| {
        let here = seen
            .container(&container.name)
            .filter(|instance| Some(instance.sandbox.as_str()) == last);
        let state = here.map(|instance| &instance.state);
        let in_vain = matches!(state, Some(ContainerState::Exited { code, .. }) if *code != 0);
        !container.sidecar && in_vain && ended(container)
    };
    pod.containers.iter().all(ended) || pod.init_containers.iter().any(failed)
}

fn in_sandbox<'a>(pod: &'a Pod, seen: &'a ObservedPod, sandbox: &'a Sandbox) -> Need<'a> {
    let mut stop = strays(pod, seen, sandbox);
    // Before the init containers, which may be what somebody wants to look into.
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
            _ if shall_start(container, instance) => {
                stop.extend(instance.and_then(|instance| try_killing(instance, "Container")));
                start.push(container);
            }
            _ => {}
        }
    }
    match kept == 0 && start.len() == init {
        // Sidecars do not keep a pod alive, nor does what was added to it.
        true => Need::End,
        false => Need::Containers {
            sandbox,
            stop,
            start: added.chain(start).collect(),
        },
    }
}

/// Instances that may run but are not the one that counts: of another sandbox, or older than the newest. The
/// pod's names only: what others put into the sandbox is theirs.
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

/// How far the init containers are.
enum Init<'a> {
    /// One failed for good.
    Failed,
    /// They are not through: these start now.
    Pending(Vec<&'a Container>),
    /// They are through: these sidecars have to be started again.
    Done(Vec<&'a Container>),
}

/// Looks from the last init container backwards, for the completed ones may have been removed meanwhile: the
/// last of which there is a trace tells how far the pod is; of those before it only the sidecars matter.
/// Traces in an earlier sandbox do not count.
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
    // In the manifest's order, not in that of the search.
    start.sort_by_key(|wanted| all.iter().position(|container| container.name == wanted.name));
    match through {
        true => Init::Done(start),
        false => Init::Pending(start),
    }
}

/// What the newest instance of an init container says.
#[derive(Clone, Copy)]
enum Trace {
    /// It is at work.
    Works,
    /// It has done what the next one waits for.
    Complete,
    /// So it has, but from an older definition: it is made anew beside.
    Changed,
    /// So it has, and it is made anew to get other resources.
    Resized,
    /// A sidecar whose probe of that kind has failed: it is ended and made anew. One that does not work any more
    /// has done what the next one waits for.
    Unwell(ProbeKind),
    /// It has to be started, once more or at last.
    Restart,
    /// It failed, and is not tried again.
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
        ContainerState::Running { .. } if instance.condemned_by(container).is_some() => {
            Trace::Unwell(ProbeKind::Liveness)
        }
        ContainerState::Running { .. } if resize::restarts(container, instance, seen) => Trace::Resized,
        ContainerState::Running { .. } => Trace::Complete,
        ContainerState::Exited { .. } | ContainerState::Unknown if container.sidecar => Trace::Restart,
        ContainerState::Exited { .. } if !instance.has_failed() => Trace::Complete,
        ContainerState::Exited { code, .. } if container.restarts_after(*code) => Trace::Restart,
        // Without an exit code no rule applies, and one that was killed for want of memory may have left a 0.
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

/// Whether a regular container proves that the init containers before it were through.
fn was_let_in(instance: &ObservedContainer) -> bool {
    matches!(
        instance.state,
        ContainerState::Created | ContainerState::Running { .. }
    )
}

/// Whether an instance was made from another definition. One whose hash cannot be read is taken for unchanged:
/// nothing that runs is stopped on a guess.
pub(super) fn changed(container: &Container, instance: &ObservedContainer) -> bool {
    instance.hash != 0 && instance.hash != container.hash
}

/// Nobody knows whether a container in state unknown runs: it is stopped first, never to run twice.
fn try_killing<'a>(instance: &'a ObservedContainer, what: &str) -> Option<Stop<'a>> {
    (instance.state == ContainerState::Unknown).then(|| Stop {
        instance,
        message: format!("{what} is in \"unknown\" state, try killing it before restart"),
        grace: None,
    })
}

/// The stop of a running container that must not go on, and whether it is started anew: always where its
/// definition changed, by its policy where a probe has failed.
fn condemned<'a>(
    container: &Container,
    running: &'a ObservedContainer,
    seen: &ObservedPod,
) -> Option<(Stop<'a>, bool)> {
    let (why, grace, restarts) = match running.condemned_by(container) {
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

/// The stop of a container that gets other resources by a restart only.
fn resized(running: &ObservedContainer) -> Stop<'_> {
    Stop {
        instance: running,
        message: format!("Container {} resize requires restart", running.name),
        grace: None,
    }
}

/// What a container is stopped for.
fn failed(kind: ProbeKind) -> String {
    format!("failed {} probe", kind.title().to_lowercase())
}

/// The grace that a probe gives what it condemns (`setTerminationGracePeriod`).
fn grace(container: &Container, kind: ProbeKind) -> Option<Duration> {
    container.probes.get(kind)?.grace
}

/// The event's message of an ordinary stop.
pub(super) fn stopping(container: &str) -> String {
    format!("Stopping container {container}")
}
