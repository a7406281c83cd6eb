//! Ends and removals: the order in which a pod's parts go. What is last tells that something is left, so a
//! removal that was interrupted is found and finished.

use std::path::PathBuf;
use std::time::Duration;

use super::need::stopping;
use super::{cgroup, container, volume};
use crate::model::node::NodePolicy;
use crate::model::pod::{Container, Pod, PodName, PodUid};
use crate::model::resources::Qos;
use crate::model::runtime::{ObservedContainer, ObservedPod, Sandbox};
use crate::model::step::{HookCall, HookHost, SandboxRef, Step};

/// What a container always gets before SIGKILL (`minimumGracePeriodInSeconds` in `kuberuntime_container.go`).
pub(super) const LEAST_GRACE: Duration = Duration::from_secs(2);

/// Removes everything of a pod that nobody wants any more, or that another of its name replaces. The sandbox,
/// by which the pod is observed, goes last. A container that cannot be stopped is ended by its sandbox's stop.
pub(super) fn remove(
    name: &PodName,
    uid: &PodUid,
    seen: &ObservedPod,
    policy: &NodePolicy,
) -> Vec<Vec<Step>> {
    let stop = seen.containers.iter().filter(|c| c.may_run());
    let logs = Step::RemoveLogDir {
        dir: policy.pod_log_dir(name, uid),
    };
    let mut stages = vec![
        stop.map(|c| stop_container(c, own_grace(c), stopping(&c.name), seen, policy))
            .collect(),
        seen.sandboxes.iter().map(stop_sandbox).collect(),
        seen.containers
            .iter()
            .map(|c| remove_container(name, c, policy))
            .collect(),
        // Before the directory: by that a pod without a sandbox is found again.
        vec![logs],
    ];
    stages.extend(remains(uid, policy));
    stages.push(seen.sandboxes.iter().map(remove_sandbox).collect());
    stages
}

/// Removes what lies on the disk and in the kernel of a pod whose sandboxes are gone. Its class is not known
/// any more: its cgroup is in one of three places.
pub(super) fn remains(uid: &PodUid, policy: &NodePolicy) -> [Vec<Step>; 2] {
    let cgroups = [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort]
        .into_iter()
        .filter(|_| policy.cgroup.per_qos)
        .map(|qos| Step::RemoveCgroup {
            name: cgroup::pod_cgroup_name(uid, qos, &policy.cgroup),
        });
    let dir = Step::RemovePodDir {
        dir: policy.pod_dir(uid),
    };
    [cgroups.collect(), vec![dir]]
}

/// Ends a pod that stays known: its containers remain for their logs and its status, its volumes and its
/// cgroup go.
pub(super) fn end(pod: &Pod, seen: &ObservedPod, policy: &NodePolicy) -> Vec<Vec<Step>> {
    let mut stages = stop_all(pod, seen, policy);
    let mut steps = Vec::new();
    if policy.cgroup.per_qos {
        steps.push(Step::RemoveCgroup {
            name: cgroup::pod_cgroup_name(&pod.uid, pod.qos, &policy.cgroup),
        });
    }
    steps.push(Step::RemovePodDir {
        dir: policy.pod_dir(&pod.uid).join("volumes"),
    });
    let has_parts = |container: &Container| container.mounts.iter().any(|mount| mount.sub_path.is_some());
    if pod.all_containers().any(has_parts) {
        // Before the volumes that they are parts of.
        stages.push(vec![Step::RemovePodDir {
            dir: volume::sub_paths_dir(pod, policy),
        }]);
    }
    stages.push(steps);
    stages
}

/// Stops everything of a pod and its sandboxes with it. Sidecars stop after the containers they serve, in the
/// reverse order of their start (`kuberuntime_termination_order.go`).
pub(super) fn stop_all(pod: &Pod, seen: &ObservedPod, policy: &NodePolicy) -> Vec<Vec<Step>> {
    let grace = pod.deletion.as_ref().map_or(pod.grace, |deletion| deletion.grace);
    let sidecar = |c: &ObservedContainer| {
        let place = pod
            .init_containers
            .iter()
            .position(|i| i.sidecar && i.name == c.name);
        place.map_or(0, |index| pod.init_containers.len() - index)
    };
    let running: Vec<_> = seen.containers.iter().filter(|c| c.may_run()).collect();
    let mut stages = Vec::new();
    for rank in 0..=pod.init_containers.len() {
        let of_rank = running.iter().filter(|c| sidecar(c) == rank);
        stages.push(
            of_rank
                .map(|c| stop_container(c, grace, stopping(&c.name), seen, policy))
                .collect(),
        );
    }
    stages.push(seen.sandboxes.iter().map(stop_sandbox).collect());
    stages
}

/// Without a grace there is no time for a hook. Which one there is, is told by the container itself: the
/// manifest of a pod that nobody wants any more is gone.
pub(super) fn stop_container(
    instance: &ObservedContainer,
    grace: Duration,
    message: String,
    seen: &ObservedPod,
    policy: &NodePolicy,
) -> Step {
    let hook = instance.pre_stop.as_ref().filter(|_| !grace.is_zero());
    Step::StopContainer {
        pre_stop: hook.map(|hook| HookCall {
            hook: hook.clone(),
            host: host(&instance.sandbox, seen, policy),
        }),
        container: instance.name.clone(),
        id: instance.id.clone(),
        grace: grace.max(LEAST_GRACE),
        message,
    }
}

/// Where the pod of a sandbox is reached.
pub(super) fn host(sandbox: &str, seen: &ObservedPod, policy: &NodePolicy) -> HookHost {
    let known = seen.sandboxes.iter().find(|known| known.id == sandbox);
    let address = known.and_then(|sandbox| match sandbox.host_network {
        true => policy.host_ips.first(),
        false => sandbox.ips.first(),
    });
    match address {
        Some(address) => HookHost::At(*address),
        None => HookHost::OfSandbox(SandboxRef::Id(sandbox.to_owned())),
    }
}

pub(super) fn remove_container(name: &PodName, instance: &ObservedContainer, policy: &NodePolicy) -> Step {
    Step::RemoveContainer {
        container: instance.name.clone(),
        id: instance.id.clone(),
        log: PathBuf::from(&instance.log_path),
        link: Some(container::log_link_of(name, &instance.name, &instance.id, policy)),
    }
}

pub(super) fn stop_sandbox(sandbox: &Sandbox) -> Step {
    Step::StopSandbox {
        id: sandbox.id.clone(),
    }
}

pub(super) fn remove_sandbox(sandbox: &Sandbox) -> Step {
    Step::RemoveSandbox {
        id: sandbox.id.clone(),
    }
}

/// The grace that the container was made with, which is all that is left of its pod's manifest.
fn own_grace(instance: &ObservedContainer) -> Duration {
    let seconds = instance
        .grace_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    Duration::from_secs(seconds.unwrap_or(0))
}
