//! Starting a pod: the stages that create what it needs, with as much as possible in parallel.

use std::sync::Arc;

use jiff::Timestamp;

use super::container::{self, Home};
use super::content::Origin;
use super::context::PlanContext;
use super::environment::Room;
use super::need::Stop;
use super::{
    PlanView, actuation, cgroup, ephemeral, expand, gc, image_volume, pull, republish, resize, restart,
    sandbox, teardown, volume,
};
use crate::model::allocation::Allocation;
use crate::model::checkpoint::Checkpoint;
use crate::model::memory::FailedWork;
use crate::model::pod::{Container, Pod, RestartPolicy, Source};
use crate::model::probe::Hook;
use crate::model::reason;
use crate::model::reference::all_references;
use crate::model::request::{
    ContainerRef, HookCall, HookHost, Occasion, PostStart, SandboxRef, VolumeRequest,
};
use crate::model::runtime::{ContainerState, Sandbox, makes_recursive_read_only};
use crate::model::service::Services;
use crate::model::step::Step;

/// Stages, and when the first of the waiting containers may be started.
#[derive(Default)]
pub(super) struct Stages {
    pub(super) stages: Vec<Vec<Step>>,
    pub(super) waits_until: Option<Timestamp>,
}

/// Whether an object that the pod takes values from was requested but not answered yet.
pub(super) fn lacks_answers(context: PlanContext<'_>) -> bool {
    let PlanView {
        objects, services, ..
    } = context.view;
    let waits_for_services = context.pod.source == Source::Api && **services == Services::Asked;
    waits_for_services
        || all_references(context.pod, |key| objects.get(key))
            .iter()
            .any(|key| objects.is_asked(key))
}

/// Creates a sandbox and starts containers in it. What is left of the previous one is stopped first.
pub(super) fn in_new_sandbox(context: PlanContext<'_>, attempt: u32, start: &[&Container]) -> Stages {
    let PlanContext {
        pod, seen, policy, ..
    } = context;
    if seen.lives() {
        // A separate plan: the end of running containers must be observed before there is another sandbox.
        return Stages {
            stages: teardown::stop_all(
                seen,
                &teardown::Ending::of(pod, seen, None, None, context.now),
                policy,
            )
            .into(),
            waits_until: None,
        };
    }
    if let Some(until) = held_by_volumes(context) {
        return Stages {
            stages: gc::stages(pod, seen, policy),
            waits_until: Some(until),
        };
    }
    if !context.view.network_ready && !pod.namespaces.host_network {
        return Stages::default();
    }
    let home = Home {
        sandbox: SandboxRef::Made,
        config: Arc::new(sandbox::config(pod, attempt, policy)),
        recursive_read_only: recursive_read_only(context),
    };
    let (due, waits_until) = due(context, start);
    let request = sandbox::request(context.origin(&[]), context.view.runtime_handlers, attempt);
    // Without a sandbox no image is needed.
    let due = if request.handler.is_ok() { due } else { Vec::new() };
    let run = Step::RunSandbox(Box::new(request));
    let last = seen.sandboxes.first().map(teardown::stop_sandbox);
    let outdated = due.iter().filter_map(|c| remove_outdated(context, c));
    let mut stages = vec![last.into_iter().collect(), outdated.collect(), base(context)];
    stages.push([run].into_iter().chain(images(context, &due)).collect());
    if !due.is_empty() {
        stages.push(vec![Step::WriteHosts(container::hosts_file(pod, &[], policy))]);
        create_and_start(context, &due, &home, context.origin(&[]), &mut stages);
    }
    stages.extend(gc::stages(pod, seen, policy));
    Stages { stages, waits_until }
}

/// Stops and starts containers in the existing sandbox.
pub(super) fn in_sandbox(
    context: PlanContext<'_>,
    sandbox: &Sandbox,
    stop: &[Stop<'_>],
    start: &[&Container],
) -> Stages {
    let PlanContext {
        pod,
        seen,
        memory,
        policy,
        ..
    } = context;
    let home = Home {
        sandbox: SandboxRef::Id(sandbox.id.clone()),
        config: Arc::new(sandbox::config(pod, sandbox.attempt, policy)),
        recursive_read_only: recursive_read_only(context),
    };
    let held = held_by_volumes(context);
    let start_now = if held.is_some() { &[] } else { start };
    let (due, waits_until) = due(context, start_now);
    let waits_until = [waits_until, held].into_iter().flatten().min();
    let stops = stop
        .iter()
        .map(|stop| teardown::stop_one(stop, pod, seen, policy));
    let new: Vec<_> = due
        .iter()
        .copied()
        .filter(|c| created(context, c).is_none())
        .collect();
    let mut prepare: Vec<_> = new.iter().filter_map(|c| remove_outdated(context, c)).collect();
    prepare.extend(images(context, &new));
    let may_be_made = |update: &VolumeRequest| {
        let work = FailedWork::Volume(update.volume.clone());
        memory.retried_at(&work, context.now).is_none()
    };
    let updates = volume::updates(context.origin(&sandbox.ips), memory);
    let updates = updates.into_iter().filter(may_be_made);
    let added = volume::added(context.origin(&sandbox.ips), &new);
    prepare.extend(updates.chain(added).map(Step::EnsureVolume));
    if !new.is_empty() {
        prepare.push(Step::WriteHosts(container::hosts_file(pod, &sandbox.ips, policy)));
    }
    let mut stages = vec![save(context, stop, start).into_iter().collect(), stops.collect()];
    let stopped: Vec<&str> = stop.iter().map(|stop| stop.instance.id.as_str()).collect();
    let (resize, retry) = actuation::stages(context, &stopped);
    stages.extend(resize);
    let waits_until = [waits_until, retry].into_iter().flatten().min();
    stages.push(prepare);
    create_and_start(context, &due, &home, context.origin(&sandbox.ips), &mut stages);
    let retry = expansions(context, sandbox, &mut stages);
    let again = republished(context, sandbox, &mut stages);
    let waits_until = [waits_until, retry, again].into_iter().flatten().min();
    stages.extend(gc::stages(pod, seen, policy));
    Stages { stages, waits_until }
}

/// Adds the volumes to enlarge, which delay nothing; answers when the first that failed is tried again.
fn expansions(context: PlanContext<'_>, sandbox: &Sandbox, stages: &mut Vec<Vec<Step>>) -> Option<Timestamp> {
    let (due, retry) = expand::due(context.origin(&sandbox.ips), context.memory, context.now);
    let steps = due
        .into_iter()
        .map(|request| Step::ExpandVolume(Box::new(request)));
    stages.push(steps.collect());
    retry
}

/// Adds the volumes to publish again, which yield to whatever happens to the pod; answers when the next one is due.
fn republished(
    context: PlanContext<'_>,
    sandbox: &Sandbox,
    stages: &mut Vec<Vec<Step>>,
) -> Option<Timestamp> {
    let (due, next) = republish::due(context.origin(&sandbox.ips), context.memory, context.now);
    stages.push(due.into_iter().map(Step::RepublishVolume).collect());
    next
}

/// When the first of the volumes that could not be made is tried again: nothing is started without them.
fn held_by_volumes(context: PlanContext<'_>) -> Option<Timestamp> {
    let failures = context.memory.failures.iter();
    let of_volumes = failures.filter(|(work, _)| matches!(work, FailedWork::Volume(_)));
    let ends = of_volumes.map(|(_, failure)| failure.backoff.ends());
    ends.filter(|end| *end > context.now).min()
}

/// Whether the pod's runtime handler supports recursive read-only mounts.
fn recursive_read_only(context: PlanContext<'_>) -> bool {
    let handler = sandbox::handler(context.origin(&[]));
    handler.is_ok_and(|handler| makes_recursive_read_only(context.view.runtime_handlers, &handler))
}

/// The checkpoint to save for a running pod if it differs from the saved one: the order in which containers end, and
/// which instances are stopped to be started again. The latter is omitted if the restart policy would start the
/// container again anyway, and no rule could take its end for one that restarts all.
fn save(context: PlanContext<'_>, stop: &[Stop<'_>], start: &[&Container]) -> Option<Step> {
    let PlanContext {
        pod, seen, policy, ..
    } = context;
    let is_asked = |c: &Container| {
        let is_restarted_anyway = c.restart == RestartPolicy::Always && c.restart_rules.is_empty();
        !is_restarted_anyway && start.iter().any(|s| s.name == c.name)
    };
    let restarting = pod.own_containers().filter(|c| is_asked(c)).filter_map(|c| {
        let newest = seen.container(&c.name)?;
        let is_stopped = stop.iter().any(|stop| stop.instance.id == newest.id);
        (is_stopped || seen.is_restarting(newest)).then(|| (c.name.clone(), newest.id.clone()))
    });
    let wanted = Checkpoint {
        restarting: restarting.collect(),
        ..Checkpoint::of(pod)
    };
    let nothing = Checkpoint::default();
    let saved = seen.checkpoint.as_deref().unwrap_or(&nothing);
    (*saved != wanted).then(|| teardown::save(&pod.uid, wanted, policy))
}

/// The containers that may start now, and when the next one may.
fn due<'a>(context: PlanContext<'_>, start: &[&'a Container]) -> (Vec<&'a Container>, Option<Timestamp>) {
    let PlanContext {
        seen,
        memory,
        policy,
        view,
        now,
        ..
    } = context;
    let mut due = Vec::new();
    let mut next = None;
    for &container in start {
        let own = restart::start_waits_until(container, memory, seen, view.images, policy);
        match own.max(image_volume::waits_until(context, container)) {
            Some(until) if until > now => next = Some(next.map_or(until, |next: Timestamp| next.min(until))),
            _ => due.push(container),
        }
    }
    (due, next)
}

/// What must exist before the sandbox.
fn base(context: PlanContext<'_>) -> Vec<Step> {
    let PlanContext { pod, policy, .. } = context;
    let mut steps = Vec::new();
    if policy.cgroup.per_qos {
        steps.push(Step::EnsureCgroup(cgroup::pod_cgroup(pod, &policy.cgroup)));
    }
    steps.push(Step::EnsurePodDir {
        dir: policy.pod_dir(&pod.uid),
        logs: policy.pod_log_dir(&pod.name, &pod.uid),
    });
    steps.push(teardown::save_new_checkpoint(pod, policy));
    if context.seen.allocation.is_none() {
        let allocation = Allocation::of(pod);
        steps.push(resize::save(pod, allocation, Occasion::Begun, policy));
    }
    steps.extend(
        volume::requests(context.origin(&[]))
            .into_iter()
            .map(Step::EnsureVolume),
    );
    steps
}

/// The images of containers and of the volumes that they mount. The credentials of the pod's Secrets are read once for
/// all of them.
fn images(context: PlanContext<'_>, containers: &[&Container]) -> Vec<Step> {
    if containers.is_empty() {
        return Vec::new();
    }
    let keyring = pull::keyring(context.origin(&[]));
    let of_containers = containers.iter();
    let of_containers =
        of_containers.map(|container| Step::EnsureImage(container::image(&keyring, container)));
    of_containers
        .chain(image_volume::images(context.pod, &keyring, containers))
        .collect()
}

/// Creates all at once and starts one after the other, in the manifest's order. A container that exists already is only
/// started.
fn create_and_start(
    context: PlanContext<'_>,
    due: &[&Container],
    home: &Home,
    origin: Origin<'_>,
    stages: &mut Vec<Vec<Step>>,
) {
    let PlanContext {
        pod, seen, policy, ..
    } = context;
    let mut creates = Vec::new();
    let mut starts = Vec::new();
    let mut room = Room::of_plan();
    for &container in due {
        let (which, attempt) = match created(context, container) {
            Some((id, attempt)) => (ContainerRef::Id(id), attempt),
            None => {
                let attempt = next_attempt(context, container);
                let mut request = container::request(origin, container, attempt, home, &mut room);
                ephemeral::aim(&mut request, container, seen);
                creates.push(Step::CreateContainer(Box::new(request)));
                (ContainerRef::Made, attempt)
            }
        };
        let hook = post_start(context, container, which.clone(), home);
        starts.push(vec![Step::StartContainer {
            container: container.name.clone(),
            which,
            link: Some((
                container::log_link(&pod.name, &container.name, policy),
                container::log_file(pod, &container.name, attempt, policy),
            )),
        }]);
        starts.extend(hook.map(|step| vec![step]));
    }
    stages.push(creates);
    stages.extend(starts);
}

/// The hook after a container's start; later starts wait for it, as in the kubelet.
fn post_start(
    context: PlanContext<'_>,
    container: &Container,
    which: ContainerRef,
    home: &Home,
) -> Option<Step> {
    let PlanContext {
        pod, seen, policy, ..
    } = context;
    let hook = container.lifecycle.post_start.clone()?;
    let host = match (&home.sandbox, policy.host_ips.first()) {
        (_, Some(address)) if pod.namespaces.host_network => HookHost::At(*address),
        (SandboxRef::Id(id), _) => teardown::host(id, seen, policy),
        (SandboxRef::Made, _) => HookHost::OfSandbox(SandboxRef::Made),
    };
    let pre_stop = container.lifecycle.pre_stop.as_ref();
    Some(Step::PostStart(Box::new(PostStart {
        container: container.name.clone(),
        which,
        pod: format!("{}_{}({})", pod.name.name, pod.name.namespace, pod.uid),
        call: HookCall { hook, host },
        grace: pod.grace.max(teardown::LEAST_GRACE),
        pre_stop: pre_stop.and_then(|handler| Hook::new(handler, &container.ports)),
    })))
}

/// The ID and attempt number of an instance that was created but not started, if it can still be started.
fn created(context: PlanContext<'_>, container: &Container) -> Option<(String, u32)> {
    let instance = context.seen.container(&container.name)?;
    gc::will_start(context.pod, context.seen, instance).then(|| (instance.id.clone(), instance.restart_count))
}

/// An instance that never ran and can no longer run, because it has an older definition or is in an earlier sandbox, is
/// replaced by the new one, which takes over its attempt number.
fn remove_outdated(context: PlanContext<'_>, container: &Container) -> Option<Step> {
    let instance = context.seen.container(&container.name)?;
    let outdated = instance.state == ContainerState::Created;
    outdated.then(|| teardown::remove_container(&context.pod.name, instance, context.policy))
}

/// The restart count of the next instance; instances that never ran do not count. If the runtime has lost an instance,
/// the count comes from its log, which is never overwritten (`calcRestartCountByLogDir` in
/// `pkg/kubelet/kuberuntime/kuberuntime_container.go`), and from the status in the API server.
fn next_attempt(context: PlanContext<'_>, container: &Container) -> u32 {
    let logs = context.view.logs.and_then(|logs| logs.get(&container.name));
    let of_instance = match context.seen.container(&container.name) {
        None => reported(context.pod, container),
        Some(instance) if instance.state == ContainerState::Created => instance.restart_count,
        Some(instance) => instance.restart_count.saturating_add(1),
    };
    of_instance.max(logs.copied().unwrap_or(0))
}

/// The restart count in the API server's status, if the container had an instance. The status of one that was removed to
/// be restarted with all others has the next instance's count.
fn reported(pod: &Pod, container: &Container) -> u32 {
    let Some(status) = pod.object.status.as_ref().filter(|_| pod.source == Source::Api) else {
        return 0;
    };
    let lists = [
        &status.container_statuses,
        &status.init_container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let mut all = lists.into_iter().flatten().flatten();
    let status = all.find(|status| status.name == container.name && status.container_id.is_some());
    status.map_or(0, |status| {
        let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        let is_counted = reason == Some(reason::waiting::RESTARTING_ALL_CONTAINERS);
        let count = u32::try_from(status.restart_count).unwrap_or(0);
        count.saturating_add(u32::from(!is_counted))
    })
}
