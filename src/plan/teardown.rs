//! Ends and removals: the order in which the parts of a pod are removed. The last part shows that something is left, so
//! an interrupted removal is found and finished.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::need::{Stop, stopping};
use super::{cgroup, container, volume};
use crate::model::checkpoint::{self, Checkpoint};
use crate::model::end::End;
use crate::model::later::later;
use crate::model::node::NodePolicy;
use crate::model::pod::{Container, Pod, PodName, PodUid};
use crate::model::request::{CheckpointRecord, HookCall, HookHost, OnWriteFailure, SandboxRef};
use crate::model::resources::Qos;
use crate::model::runtime::{ObservedContainer, ObservedPod, Sandbox};
use crate::model::step::Step;

/// The least grace period before SIGKILL (`minimumGracePeriodInSeconds` in `kuberuntime_container.go`).
pub(super) const LEAST_GRACE: Duration = Duration::from_secs(2);

/// The end of a pod: the order in which its containers are stopped, and the remaining grace period.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    seen: &'a ObservedPod,
    order: Cow<'a, Checkpoint>,
    /// The end of the grace period. It is the same for all containers, and continues if an end is started again.
    pub(super) ends: Timestamp,
    left: Duration,
}

impl<'a> Ending<'a> {
    /// For a pod whose definition is available, which has ended for good because of `why`. The grace period requested last
    /// counts if it ends sooner, and `by` if that is sooner still.
    pub(super) fn of(
        pod: &Pod,
        seen: &'a ObservedPod,
        why: Option<&End>,
        by: Option<Timestamp>,
        now: Timestamp,
    ) -> Ending<'a> {
        let own = pod.deletion.as_ref().map_or(pod.grace, |deletion| deletion.grace);
        let left = by.map(|by| Duration::try_from(by.duration_since(now)).unwrap_or_default());
        let grace = left.map_or(own, |left| left.min(own));
        let saved = Checkpoint {
            ended: why.cloned(),
            ..Checkpoint::of(pod)
        };
        Ending::new(seen, Cow::Owned(saved), grace, now)
    }

    /// For the past incarnation of a pod, which starts again afterwards. The grace period may be one that people chose.
    pub(super) fn of_past(pod: &Pod, seen: &'a ObservedPod, now: Timestamp) -> Ending<'a> {
        let grace = pod.past_grace.unwrap_or(pod.grace);
        Ending::new(seen, Cow::Owned(Checkpoint::of(pod)), grace, now)
    }

    /// For a pod without a definition: from its checkpoint and the labels of its containers.
    pub(super) fn of_unknown(seen: &'a ObservedPod, now: Timestamp) -> Ending<'a> {
        let running = seen.containers.iter().filter(|c| c.may_run());
        let grace = running.map(own_grace).max().unwrap_or_default();
        let saved = seen.checkpoint.as_deref().map(Cow::Borrowed);
        Ending::new(seen, saved.unwrap_or_default(), grace, now)
    }

    fn new(seen: &'a ObservedPod, order: Cow<'a, Checkpoint>, grace: Duration, now: Timestamp) -> Ending<'a> {
        let full = later(now, grace);
        let begun = seen.checkpoint.as_ref().and_then(|saved| saved.ends);
        let ends = begun.map_or(full, |begun| begun.min(full));
        let left = Duration::try_from(ends.duration_since(now)).unwrap_or_default();
        let whole = Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0));
        Ending {
            seen,
            order,
            ends,
            left: whole,
        }
    }

    /// The checkpoint to save before anything is stopped, so that an agent can continue after a kill; `None` if it is
    /// saved already.
    pub(super) fn save(&self, uid: &PodUid, leaving: bool, policy: &NodePolicy) -> Option<Step> {
        let saved = self.seen.checkpoint.as_deref();
        // A pod that has ended for good, whichever incarnation its containers are of, is not followed by another.
        let was_leaving = self.order.ended.is_none() && saved.is_some_and(|saved| saved.leaving);
        let wanted = Checkpoint {
            ends: Some(self.ends),
            leaving: leaving || was_leaving,
            ..self.order.clone().into_owned()
        };
        (saved != Some(&wanted)).then(|| save(uid, wanted, policy))
    }

    /// The stops of all containers that may run, in one stage, because all hooks are called at the beginning.
    pub(super) fn stops(&self, policy: &NodePolicy) -> Vec<Step> {
        let running = || self.seen.containers.iter().filter(|c| c.may_run());
        let stop = |instance: &ObservedContainer| {
            let waits_for = |other: &&ObservedContainer| self.order.waits_for(&instance.name, &other.name);
            // Without a grace period there is no time for an order.
            let others = running().filter(waits_for).filter(|_| !self.left.is_zero());
            let after = others.map(|other| other.id.clone()).collect();
            stop(
                instance,
                self.left,
                stopping(&instance.name),
                after,
                self.seen,
                policy,
            )
        };
        running().map(stop).collect()
    }
}

/// The step that saves the checkpoint for the pod's end. Its failure does not delay what continues or ends.
pub(super) fn save(uid: &PodUid, checkpoint: Checkpoint, policy: &NodePolicy) -> Step {
    Step::WriteCheckpoint(Box::new(CheckpointRecord {
        path: policy.pod_dir(uid).join(checkpoint::FILE),
        checkpoint,
        on_failure: OnWriteFailure::Continue,
    }))
}

/// The same for a pod that starts: the checkpoint of a past incarnation must not be taken for the new one's.
pub(super) fn save_new_checkpoint(pod: &Pod, policy: &NodePolicy) -> Step {
    Step::WriteCheckpoint(Box::new(CheckpointRecord {
        path: policy.pod_dir(&pod.uid).join(checkpoint::FILE),
        checkpoint: Checkpoint::of(pod),
        on_failure: OnWriteFailure::Fail,
    }))
}

/// Removes everything of a pod that is no longer desired, or that another pod of its name replaces. The sandbox, by
/// which the pod is observed, goes last. A container that cannot be stopped ends when its sandbox is stopped. Running
/// parts are stopped first, in a plan of their own: a pod that is desired again by then keeps its logs.
pub(super) fn remove(
    name: &PodName,
    uid: &PodUid,
    seen: &ObservedPod,
    ending: &Ending<'_>,
    policy: &NodePolicy,
) -> Vec<Vec<Step>> {
    let is_known = !seen.sandboxes.is_empty() || !seen.containers.is_empty();
    let logs = Step::RemoveLogDir {
        dir: policy.pod_log_dir(name, uid),
        links: policy.container_logs_dir.clone(),
    };
    let mark = ending.save(uid, true, policy).filter(|_| is_known);
    let mut stages = vec![mark.into_iter().collect()];
    // What the previous plan stopped is not stopped again: removing a sandbox stops whatever is left.
    let was_leaving = seen.checkpoint.as_ref().is_some_and(|saved| saved.leaving);
    if seen.lives() || !was_leaving {
        stages.extend(stop_all(seen, ending, policy));
    }
    if seen.lives() {
        return stages;
    }
    stages.extend([
        seen.containers
            .iter()
            .map(|c| remove_container(name, c, policy))
            .collect(),
        // Before the directory, by which a pod without a sandbox is found again.
        vec![logs],
    ]);
    stages.extend(remains(uid, policy));
    stages.push(seen.sandboxes.iter().map(remove_sandbox).collect());
    stages
}

/// Removes the files and cgroups of a pod whose sandboxes are gone. Its QoS class is no longer known, so its cgroup is
/// in one of three places.
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

/// Ends a pod that remains known: its containers stay for their logs and status; its volumes and its cgroup are
/// removed.
pub(super) fn end(
    pod: &Pod,
    seen: &ObservedPod,
    ending: &Ending<'_>,
    leaving: bool,
    policy: &NodePolicy,
) -> Vec<Vec<Step>> {
    let runs = seen.containers.iter().any(ObservedContainer::may_run);
    // Any other end is found out again. What does not run in this moment would be started again after the reboot.
    let is_unique = ending.order.ended.as_ref().is_some_and(End::is_unique) && !seen.sandboxes.is_empty();
    let is_saved = leaving || runs || is_unique;
    let mark = ending.save(&pod.uid, leaving, policy).filter(|_| is_saved);
    let mut stages = vec![mark.into_iter().collect()];
    stages.extend(stop_all(seen, ending, policy));
    stages.extend(give_back(pod, policy));
    stages
}

/// Removes the parts of a pod that ended because its definition was gone, and that is desired again: nothing of the
/// past incarnation may be taken for a part of the next. The logs stay, because restart counts are derived from them,
/// and the checkpoint says that the pod is leaving until it is started again.
pub(super) fn reset(pod: &Pod, seen: &ObservedPod, policy: &NodePolicy) -> Vec<Vec<Step>> {
    let removals = seen.containers.iter();
    let removals = removals.map(|instance| remove_all_but_log(&pod.name, instance, policy));
    let mut stages = vec![removals.collect()];
    stages.extend(give_back(pod, policy));
    stages.push(seen.sandboxes.iter().map(remove_sandbox).collect());
    stages
}

/// Releases what an ended pod no longer needs.
fn give_back(pod: &Pod, policy: &NodePolicy) -> Vec<Vec<Step>> {
    let mut stages = Vec::new();
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
        // Before the volumes that contain them.
        stages.push(vec![Step::RemovePodDir {
            dir: volume::sub_paths_dir(pod, policy),
        }]);
    }
    stages.push(steps);
    stages
}

/// Stops all containers and sandboxes of a pod.
pub(super) fn stop_all(seen: &ObservedPod, ending: &Ending<'_>, policy: &NodePolicy) -> [Vec<Step>; 2] {
    [
        ending.stops(policy),
        seen.sandboxes.iter().map(stop_sandbox).collect(),
    ]
}

/// Stops one container of a pod that keeps running.
pub(super) fn stop_one(stop_it: &Stop<'_>, pod: &Pod, seen: &ObservedPod, policy: &NodePolicy) -> Step {
    let grace = stop_it.grace.unwrap_or(pod.grace);
    stop(
        stop_it.instance,
        grace,
        stop_it.message.clone(),
        Vec::new(),
        seen,
        policy,
    )
}

/// Without a grace period there is no time for a hook. The hook is read from the container itself: the manifest of a
/// pod that is no longer desired is gone.
fn stop(
    instance: &ObservedContainer,
    grace: Duration,
    message: String,
    after: Vec<String>,
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
        after,
    }
}

/// The addresses of a sandbox's pod.
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

/// Removes a container, but not its log, from which the next restart count is derived.
pub(super) fn remove_all_but_log(name: &PodName, instance: &ObservedContainer, policy: &NodePolicy) -> Step {
    let mut step = remove_container(name, instance, policy);
    if let Step::RemoveContainer { log, .. } = &mut step {
        *log = PathBuf::new();
    }
    step
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

/// The grace period from the container's labels, which is all that is left of its pod's manifest.
fn own_grace(instance: &ObservedContainer) -> Duration {
    let seconds = instance
        .grace_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    Duration::from_secs(seconds.unwrap_or(0))
}
