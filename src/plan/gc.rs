//! Removes unneeded dead containers and sandboxes (`pkg/kubelet/kuberuntime/kuberuntime_gc.go`, with the kubelet's
//! defaults), and what remains of pods whose sandboxes are gone.

use std::collections::BTreeSet;
use std::path::Path;

use super::need::changed;
use super::teardown;
use crate::model::node::NodePolicy;
use crate::model::pod::{Pod, PodUid};
use crate::model::runtime::{ContainerState, ObservedContainer, ObservedPod};
use crate::model::step::{Plan, Step};

/// Removes a pod of which only a directory, its logs or a cgroup remains: a UID of
/// [`crate::model::runtime::Snapshot::leftovers`] that no source, no memory and no runtime object has. `logs` is the directory
/// of its logs, if it has one: a pod may have ended, while no agent was running, before it had a sandbox.
pub fn leftover(uid: &PodUid, logs: Option<&Path>, policy: &NodePolicy) -> Plan {
    let logs = logs.map(|dir| Step::RemoveLogDir {
        dir: dir.to_owned(),
        links: policy.container_logs_dir.clone(),
    });
    let stages = logs.map(|step| vec![step]).into_iter();
    Plan {
        stages: stages.chain(teardown::remains(uid, policy)).collect(),
        wake_at: None,
        ..Plan::default()
    }
}

/// The newest dead instance of each container stays, for its log and its last state; of the sandboxes, the newest one
/// and those that still have a container.
pub(super) fn stages(pod: &Pod, seen: &ObservedPod, policy: &NodePolicy) -> Vec<Vec<Step>> {
    let mut kept = BTreeSet::new();
    let dead: Vec<_> = seen
        .containers
        .iter()
        .filter(|instance| !instance.may_run() && !will_start(pod, seen, instance))
        .filter(|instance| !kept.insert(instance.name.as_str()))
        .collect();
    let going: BTreeSet<_> = dead.iter().map(|instance| instance.id.as_str()).collect();
    let in_use: BTreeSet<_> = seen
        .containers
        .iter()
        .filter(|instance| !going.contains(instance.id.as_str()))
        .map(|instance| instance.sandbox.as_str())
        .collect();
    let empty: Vec<_> = seen
        .sandboxes
        .iter()
        .skip(1)
        .filter(|sandbox| !sandbox.ready && !in_use.contains(sandbox.id.as_str()))
        .collect();
    let removals = dead
        .iter()
        .map(|c| teardown::remove_container(&pod.name, c, policy));
    vec![
        removals.collect(),
        // It was stopped when it was replaced; this makes sure, in case another agent did that.
        empty
            .iter()
            .map(|sandbox| teardown::stop_sandbox(sandbox))
            .collect(),
        empty
            .iter()
            .map(|sandbox| teardown::remove_sandbox(sandbox))
            .collect(),
    ]
}

/// Removes all that the runtime has of a pod that has ended for good: for lack of room, also what people could still look at
/// (`DeleteAllUnusedContainers` in `pkg/kubelet/container/container_gc.go`).
pub(super) fn ended(pod: &Pod, seen: &ObservedPod, policy: &NodePolicy) -> Vec<Vec<Step>> {
    let containers = seen.containers.iter();
    let removals = containers.map(|instance| teardown::remove_container(&pod.name, instance, policy));
    let sandboxes = || seen.sandboxes.iter();
    let mut stages = vec![
        removals.collect::<Vec<_>>(),
        sandboxes().map(teardown::stop_sandbox).collect(),
        sandboxes().map(teardown::remove_sandbox).collect(),
    ];
    stages.retain(|stage| !stage.is_empty());
    stages
}

/// Whether an instance was created and is about to be started: the newest of its name, in the current sandbox, of the
/// current definition.
pub(super) fn will_start(pod: &Pod, seen: &ObservedPod, instance: &ObservedContainer) -> bool {
    let newest = |c: &&ObservedContainer| c.id == instance.id;
    let definition = pod.all_containers().find(|c| c.name == instance.name);
    instance.state == ContainerState::Created
        && seen.container(&instance.name).filter(newest).is_some()
        && seen
            .ready_sandbox()
            .is_some_and(|sandbox| sandbox.id == instance.sandbox)
        && definition.is_some_and(|container| !changed(container, instance))
}
