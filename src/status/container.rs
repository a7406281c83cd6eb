//! The statuses of a pod's containers (`convertToAPIContainerStatuses` in `pkg/kubelet/kubelet_pods.go`).

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::context::{Kind, StatusContext};
use super::image_volume::PULL_FAILURE_SHOWN;
use super::resize;
use super::restart_all;
use super::state::{
    container_id, default_reason, exit_code, lost, running, state, terminated, waiting_state,
};
use super::waiting::{shown_back_off, why_it_waits};
use crate::model::health::Verdict;
use crate::model::memory::ContainerMemory;
use crate::model::node::NodePolicy;
use crate::model::pod::{Container, Mount, Pod};
use crate::model::probe::ProbeKind;
use crate::model::runtime::{ContainerState, ObservedContainer, makes_recursive_read_only};

/// The statuses of the containers, by name.
pub(super) fn statuses(
    context: StatusContext<'_>,
    previous: &[api::ContainerStatus],
) -> Vec<api::ContainerStatus> {
    let mut all: Vec<_> = context
        .pod
        .containers
        .iter()
        .map(|container| status(context, container, Kind::Regular, previous))
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// The statuses of the init containers, in the manifest's order.
pub(super) fn init_statuses(
    context: StatusContext<'_>,
    previous: &[api::ContainerStatus],
) -> Vec<api::ContainerStatus> {
    context
        .pod
        .init_containers
        .iter()
        .map(|container| match container.sidecar {
            true => status(context, container, Kind::Sidecar, previous),
            false => status(context, container, Kind::Init, previous),
        })
        .collect()
}

/// The statuses of the ephemeral containers, by name.
pub(super) fn ephemeral_statuses(
    context: StatusContext<'_>,
    previous: &[api::ContainerStatus],
) -> Vec<api::ContainerStatus> {
    let added = context.pod.ephemeral_containers.iter();
    let mut all: Vec<_> = added
        .map(|container| status(context, container, Kind::Ephemeral, previous))
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn status(
    context: StatusContext<'_>,
    container: &Container,
    kind: Kind,
    previous: &[api::ContainerStatus],
) -> api::ContainerStatus {
    let previous = previous.iter().find(|status| status.name == container.name);
    if let Some(mut removed) = restart_all::removed(context, container, previous) {
        removed.volume_mounts = volume_mounts(context, container);
        return removed;
    }
    let mut instances = instances(context, container, kind);
    let newest = instances.next();
    let mut status = match newest {
        Some(instance) => of_instance(context, container, instance, instances.next(), previous),
        None => without_instance(context, container, kind, previous),
    };
    show_waiting(context, container, kind, newest, &mut status);
    let state = status.state.get_or_insert_default();
    let runs = state.running.is_some();
    let asked = newest.filter(|_| runs);
    let started = || asked.map_or(runs, |instance| has_started(container, instance, previous));
    status.started = (kind != Kind::Ephemeral).then(started);
    status.ready = match kind {
        Kind::Ephemeral => false,
        Kind::Regular | Kind::Sidecar => asked.map_or(runs, |instance| {
            has_started(container, instance, previous) && is_ready(container, instance, previous)
        }),
        Kind::Init => state.terminated.as_ref().is_some_and(|end| end.exit_code == 0),
    };
    status
}

/// The previous status of this very instance, which stays until a probe has a result: an agent that has just started
/// takes nothing back.
fn told_of<'a>(
    instance: &ObservedContainer,
    previous: Option<&'a api::ContainerStatus>,
) -> Option<&'a api::ContainerStatus> {
    let id = container_id(instance);
    previous.filter(|previous| previous.container_id.as_ref() == Some(&id))
}

/// The end of the instance before this one, which is still reported when the runtime no longer has it.
fn told_last(
    instance: &ObservedContainer,
    previous: Option<&api::ContainerStatus>,
) -> Option<api::ContainerState> {
    let last = told_of(instance, previous)?.last_state.clone()?;
    let ended = last.terminated.as_ref()?.container_id.as_ref()?;
    (*ended != container_id(instance)).then_some(last)
}

fn has_started(
    container: &Container,
    instance: &ObservedContainer,
    previous: Option<&api::ContainerStatus>,
) -> bool {
    let unknown = instance.verdict(ProbeKind::Startup) == Verdict::Unknown;
    let reported = told_of(instance, previous).is_some_and(|previous| previous.started == Some(true));
    instance.has_started(container) || (unknown && reported)
}

fn is_ready(
    container: &Container,
    instance: &ObservedContainer,
    previous: Option<&api::ContainerStatus>,
) -> bool {
    if container.probes.readiness.is_none() {
        return true;
    }
    match instance.verdict(ProbeKind::Readiness) {
        Verdict::Success => true,
        Verdict::Failure => false,
        Verdict::Unknown => told_of(instance, previous).is_some_and(|previous| previous.ready),
    }
}

/// The instances of a container, the newest first. Init containers run again in each sandbox: those of an earlier one
/// no longer count.
fn instances<'a>(
    context: StatusContext<'a>,
    container: &Container,
    kind: Kind,
) -> impl Iterator<Item = &'a ObservedContainer> {
    let sandbox = context.seen.sandboxes.first().map(|sandbox| sandbox.id.as_str());
    let name = container.name.clone();
    context.seen.containers.iter().filter(move |instance| {
        let is_of_any = matches!(kind, Kind::Regular | Kind::Ephemeral);
        instance.name == name && (is_of_any || sandbox.is_none_or(|id| id == instance.sandbox))
    })
}

fn of_instance(
    context: StatusContext<'_>,
    container: &Container,
    instance: &ObservedContainer,
    before: Option<&ObservedContainer>,
    previous: Option<&api::ContainerStatus>,
) -> api::ContainerStatus {
    let resources = requirements(context.pod, &container.name);
    let mut status = api::ContainerStatus {
        name: container.name.clone(),
        image: instance.image.clone(),
        image_id: instance.image_ref.clone(),
        container_id: Some(container_id(instance)),
        restart_count: i32::try_from(instance.restart_count)
            .unwrap_or(i32::MAX)
            .max(restart_all::least_count(context, previous)),
        state: Some(state(context, instance)),
        last_state: Some(match before {
            Some(before) => state(context, before),
            None => told_last(instance, previous)
                .or_else(|| restart_all::last_state(context, instance, previous))
                .unwrap_or_default(),
        }),
        allocated_resources: resources.requests.clone().filter(|requests| !requests.is_empty()),
        resources: Some(resize::in_force(context, instance, resources)),
        user: instance.user.as_ref().map(user),
        stop_signal: (instance.stop_signal)
            .filter(|_| context.policy.stop_signals)
            .map(|signal| signal.name().to_owned()),
        volume_mounts: volume_mounts(context, container),
        ..api::ContainerStatus::default()
    };
    let ran_before = previous.filter(|previous| running(previous));
    if let (ContainerState::Unknown, Some(previous)) = (&instance.state, ran_before) {
        status.state = Some(lost(
            "The container could not be located when the pod was terminated",
        ));
        status.restart_count = previous.restart_count.saturating_add(1);
    }
    status
}

/// The status without an instance: not created yet, or removed from outside. The previous status shows which.
fn without_instance(
    context: StatusContext<'_>,
    container: &Container,
    kind: Kind,
    previous: Option<&api::ContainerStatus>,
) -> api::ContainerStatus {
    let mut status = api::ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone(),
        state: Some(waiting_state(default_reason(context.pod), None)),
        last_state: Some(api::ContainerState::default()),
        volume_mounts: volume_mounts(context, container),
        ..api::ContainerStatus::default()
    };
    if let Some(previous) = previous {
        if terminated(previous) {
            return previous.clone();
        }
        status.restart_count = previous.restart_count;
        status.last_state = previous.last_state.clone().or(status.last_state);
        if running(previous)
            && status
                .last_state
                .as_ref()
                .is_none_or(|last| last.terminated.is_none())
        {
            status.last_state = Some(lost(
                "The container could not be located when the pod was deleted.  The container used to be Running",
            ));
            if context.pod.deletion.is_none() {
                status.restart_count = status.restart_count.saturating_add(1);
            }
        }
    }
    if kind == Kind::Init && !context.restarts_all && has_been_initialized(context) {
        status.state = Some(api::ContainerState {
            terminated: Some(api::ContainerStateTerminated {
                reason: Some("Completed".to_owned()),
                message: Some(
                    "Unable to get init container status from container runtime and pod has been initialized, \
                     treat it as exited normally"
                        .to_owned(),
                ),
                ..api::ContainerStateTerminated::default()
            }),
            ..api::ContainerState::default()
        });
    }
    status
}

/// The status of a container that will be started again: why it waits, if known, with the former state as its last
/// state.
fn show_waiting(
    context: StatusContext<'_>,
    container: &Container,
    kind: Kind,
    newest: Option<&ObservedContainer>,
    status: &mut api::ContainerStatus,
) {
    let ended = context.pod.deletion.is_some() || context.memory.is_some_and(|memory| memory.ended.is_some());
    let completed = kind == Kind::Init
        && status
            .state
            .as_ref()
            .is_some_and(|state| exit_code(state) == Some(0));
    if ended || completed || !is_awaited(context, container, kind, newest) {
        return;
    }
    let Some((reason, message)) = why_it_waits(context, container, kind, newest) else {
        return;
    };
    if let Some(state) = status.state.take_if(|state| state.terminated.is_some()) {
        status.last_state = Some(state);
    }
    status.state = Some(waiting_state(reason, Some(message)));
}

/// Whether the status says why a container does not run. By the pod's policy an ephemeral container that has ended
/// would be started like any other, but it never is: its status says why its one start failed.
fn is_awaited(
    context: StatusContext<'_>,
    container: &Container,
    kind: Kind,
    newest: Option<&ObservedContainer>,
) -> bool {
    match (kind, newest.map(|newest| &newest.state)) {
        (Kind::Ephemeral, Some(ContainerState::Exited { code, .. })) => {
            context.pod.restart_policy.restarts_after(*code)
        }
        _ => context.seen.must_start(container),
    }
}

/// When a container's status changes merely with time; `newest` is its newest instance.
pub(super) fn changes_at(
    memory: &ContainerMemory,
    newest: Option<&ObservedContainer>,
    policy: &NodePolicy,
    now: Timestamp,
) -> Option<Timestamp> {
    let pull = memory.pull.map(|pull| pull.since + PULL_FAILURE_SHOWN);
    let back_off = shown_back_off(memory, newest, policy).map(|(_, shown)| shown.start);
    let changes = [pull, back_off].into_iter().flatten();
    changes.filter(|at| *at > now).min()
}

fn requirements(pod: &Pod, container: &str) -> api::ResourceRequirements {
    let spec = pod.object.spec.as_ref();
    let all = spec
        .into_iter()
        .flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    let mut named = all.filter(|spec| spec.name == container);
    named
        .next()
        .and_then(|spec| spec.resources.clone())
        .unwrap_or_default()
}

/// As in the kubelet, the runtime is not queried for recursive read-only mounts: they follow from the handler that made
/// the sandbox.
fn volume_mounts(context: StatusContext<'_>, container: &Container) -> Option<Vec<api::VolumeMountStatus>> {
    let handler = match context.seen.sandboxes.first() {
        Some(sandbox) => Some(sandbox.handler.as_str()),
        None => context.pod.runtime_class.is_none().then_some(""),
    };
    let is_supported = handler.is_some_and(|name| makes_recursive_read_only(context.handlers, name));
    let status = |mount: &Mount| api::VolumeMountStatus {
        name: mount.volume.clone(),
        mount_path: mount.path.clone(),
        read_only: mount.read_only.then_some(true),
        recursive_read_only: mount
            .read_only
            .then(|| match mount.is_recursively_read_only(is_supported) {
                Ok(true) => "Enabled".to_owned(),
                Ok(false) | Err(_) => "Disabled".to_owned(),
            }),
        volume_status: None,
    };
    let all: Vec<_> = container.mounts.iter().map(status).collect();
    (!all.is_empty()).then_some(all)
}

fn user((uid, gid, groups): &(i64, i64, Vec<i64>)) -> api::ContainerUser {
    api::ContainerUser {
        linux: Some(api::LinuxContainerUser {
            uid: *uid,
            gid: *gid,
            supplemental_groups: Some(groups.clone()).filter(|groups| !groups.is_empty()),
        }),
    }
}

/// Whether a regular container was ever created, which proves that the init containers were complete.
fn has_been_initialized(context: StatusContext<'_>) -> bool {
    context.pod.containers.iter().any(|container| {
        let newest = instances(context, container, Kind::Regular).next();
        newest.is_some_and(|instance| instance.state != ContainerState::Unknown)
    })
}
