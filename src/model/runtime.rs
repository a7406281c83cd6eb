//! The observed state: sandboxes, containers and the runtime's health, as one value.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::allocation::Allocation;
use super::checkpoint::Checkpoint;
use super::health::{Health, Verdict};
use super::labels;
use super::pod::{Container, Pod, PodName, PodUid};
use super::probe::{Hook, ProbeKind};
use super::stop_signal::StopSignal;

/// The observed state of all pods. Written by `observe` alone; unchanged pods keep their `Arc`.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Whether a complete list has been read since the agent started. Before that, absence proves nothing.
    pub listed: bool,
    /// The runtime's health.
    pub runtime: RuntimeState,
    /// The observed state under each pod name, for every UID.
    pub pods: BTreeMap<PodName, Arc<ObservedName>>,
    /// The UIDs that the runtime has under names of which nothing is known yet, because a status could not be read. What
    /// concerns these pods waits: absence proves nothing.
    pub unread: Arc<BTreeMap<PodName, BTreeSet<PodUid>>>,
    /// UIDs that have a directory in the pods directory, a log directory or a pod cgroup, read at each relist. They reveal
    /// leftovers of pods whose sandboxes are gone.
    pub leftovers: Arc<BTreeSet<PodUid>>,
    /// The log directories by UID, read at each relist: their names contain those of the pods, which are not known otherwise
    /// once a pod is gone.
    pub log_dirs: Arc<BTreeMap<PodUid, PathBuf>>,
    /// The log directories of pods, by UID: for each container the number of its next log, one more than the highest
    /// that exists. Read at each relist, and for a single pod on request.
    pub logs: Arc<BTreeMap<PodUid, BTreeMap<String, u32>>>,
    /// Images of the runtime, read at each relist and after each pull.
    pub images: Arc<Vec<ObservedImage>>,
}

/// The state of the container runtime.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeState {
    /// `Err` holds why the state is unknown: the runtime does not answer.
    pub reachable: Option<Result<(), String>>,
    /// Condition RuntimeReady: `None` while true, else reason and message.
    pub runtime_fault: Option<(String, String)>,
    /// Condition NetworkReady: `None` while true, else reason and message.
    pub network_fault: Option<(String, String)>,
    /// `containerd`
    pub name: String,
    /// `1.6.20`
    pub version: String,
    /// Its handlers for sandboxes; empty if the runtime does not list them.
    pub handlers: Vec<RuntimeHandler>,
    /// Whether it honors `supplementalGroupsPolicy`; `None` if it does not report its features.
    pub strict_groups: Option<bool>,
}

/// One of the runtime's handlers, which a RuntimeClass selects; the one without a name is the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeHandler {
    /// Its name.
    pub name: String,
    /// Whether it supports recursive read-only mounts.
    pub recursive_read_only: bool,
    /// Whether it supports user namespaces.
    pub user_namespaces: bool,
}

/// Whether the handler of that name supports recursive read-only mounts. An unlisted one does not
/// (`runtimeHandlerSupportsRecursiveReadOnlyMounts` in `pkg/kubelet/kubelet_pods.go`).
pub fn makes_recursive_read_only(handlers: &[RuntimeHandler], name: &str) -> bool {
    let named = handlers.iter().find(|handler| handler.name == name);
    named.is_some_and(|handler| handler.recursive_read_only)
}

/// The observed state under one pod name: one entry per UID.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ObservedName {
    /// By UID.
    pub uids: BTreeMap<PodUid, ObservedPod>,
}

impl ObservedName {
    /// Whether everything under this name belongs to static pods, going by the sandboxes, whichever agent created them.
    pub fn is_static(&self) -> bool {
        let is_static = |(uid, pod): (&PodUid, &ObservedPod)| {
            let mut sandboxes = pod.sandboxes.iter();
            !pod.sandboxes.is_empty()
                && sandboxes.all(|sandbox| labels::is_of_static_pod(&sandbox.annotations, uid))
        };
        !self.uids.is_empty() && self.uids.iter().all(is_static)
    }
}

/// What exists of one pod.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ObservedPod {
    /// Sandboxes, the newest first.
    pub sandboxes: Vec<Sandbox>,
    /// Containers of all its sandboxes, the newest first.
    pub containers: Vec<ObservedContainer>,
    /// Its allocation, if there is a file of it.
    pub allocation: Option<Arc<Allocation>>,
    /// Its checkpoint, if there is one.
    pub checkpoint: Option<Arc<Checkpoint>>,
}

impl ObservedPod {
    /// The sandbox that containers can be started in: the newest one, if it is the only ready one and has the network
    /// mode that the pod wants (`PodSandboxChanged` in `pkg/kubelet/kuberuntime/util`). The kubelet also replaces a
    /// sandbox without an address; runtimes have no ready sandbox without one, and stopping a running pod because its
    /// address was not read would be worse.
    pub fn usable_sandbox(&self, host_network: bool) -> Option<&Sandbox> {
        let newest = self.ready_sandbox()?;
        let fits = newest.host_network == host_network && self.ready_sandboxes().count() == 1;
        fits.then_some(newest)
    }

    /// The newest sandbox, while it is ready.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// Every sandbox that is ready; normally one at most.
    pub fn ready_sandboxes(&self) -> impl Iterator<Item = &Sandbox> {
        self.sandboxes.iter().filter(|sandbox| sandbox.ready)
    }

    /// Whether a container must be started, by its newest instance: as [`must_start`] says, or because that instance
    /// was stopped to be restarted.
    pub fn must_start(&self, container: &Container) -> bool {
        let newest = self.container(&container.name);
        must_start(container, newest) || newest.is_some_and(|newest| self.is_restarting(newest))
    }

    /// Whether an instance was stopped to be restarted (its definition changed, a probe failed, or a resize requires
    /// it); then the restart policy does not apply.
    pub fn is_restarting(&self, instance: &ObservedContainer) -> bool {
        let saved = self.checkpoint.as_ref().map(|saved| &saved.restarting);
        let noted = saved.and_then(|restarting| restarting.get(&instance.name));
        instance.finished().is_some() && noted == Some(&instance.id)
    }

    /// The ended containers that restart all containers of the pod (`ShouldAllContainersRestart` in
    /// `pkg/kubelet/container/helpers.go`): those whose exit codes a rule with that action matches. An instance that was
    /// stopped to be restarted has not ended by itself.
    pub fn restart_sources<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a ObservedContainer> {
        pod.own_containers().filter_map(|container| {
            let newest = self.container(&container.name)?;
            let restarts_all = match newest.state {
                ContainerState::Exited { code, .. } => container.restarts_all_after(code),
                _ => false,
            };
            (restarts_all && !self.is_restarting(newest)).then_some(newest)
        })
    }

    /// The first of them.
    pub fn restarts_all<'a>(&'a self, pod: &'a Pod) -> Option<&'a ObservedContainer> {
        self.restart_sources(pod).next()
    }

    /// Whether any part of it is alive: a container that may run, or a ready sandbox.
    pub fn lives(&self) -> bool {
        self.containers.iter().any(ObservedContainer::may_run) || self.ready_sandboxes().next().is_some()
    }

    /// The newest instance of a container.
    pub fn container(&self, name: &str) -> Option<&ObservedContainer> {
        self.containers.iter().find(|c| c.name == name)
    }
}

/// Whether a container must be started, by its newest instance: not while it runs; always if it never ran or its state
/// is unknown; else as its restart policy and rules say (`ShouldContainerBeRestarted` in
/// `pkg/kubelet/container/helpers.go`).
pub fn must_start(container: &Container, instance: Option<&ObservedContainer>) -> bool {
    match instance.map(|instance| &instance.state) {
        Some(ContainerState::Running { .. }) => false,
        None | Some(ContainerState::Created | ContainerState::Unknown) => true,
        Some(ContainerState::Exited { code, .. }) => container.restarts_after(*code),
    }
}

/// A pod sandbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Sandbox {
    /// The runtime's ID.
    pub id: String,
    /// How many sandboxes the pod had before.
    pub attempt: u32,
    /// SANDBOX_READY.
    pub ready: bool,
    /// When it was created.
    pub created: Timestamp,
    /// Its addresses, the primary first; empty with the host's network or when not ready.
    pub ips: Vec<IpAddr>,
    /// Whether its network namespace is the host's.
    pub host_network: bool,
    /// The runtime handler that created it, empty for the default.
    pub handler: String,
    /// Its annotations; they name the source even of pods that are no longer desired.
    pub annotations: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// One instance of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedContainer {
    /// The runtime's ID.
    pub id: String,
    /// The container's name in the pod (`io.kubernetes.container.name`).
    pub name: String,
    /// The sandbox it belongs to.
    pub sandbox: String,
    /// `io.kubernetes.container.restartCount`
    pub restart_count: u32,
    /// `io.kubernetes.container.hash`, 0 where it cannot be read.
    pub hash: u32,
    /// `io.kubernetes.pod.terminationGracePeriod`, in seconds, if present.
    pub grace_seconds: Option<i64>,
    /// `io.kubernetes.container.terminationMessagePath`
    pub termination_path: String,
    /// When it was created.
    pub created: Timestamp,
    /// What it does.
    pub state: ContainerState,
    /// The image as requested.
    pub image: String,
    /// The runtime's image reference, as `PodStatus…imageID` shows it.
    pub image_ref: String,
    /// The images that it mounts, as the runtime refers to them.
    pub mounted_images: Vec<String>,
    /// The log file, absolute; empty if the runtime does not report one.
    pub log_path: String,
    /// The resources that the runtime reports for it, if any.
    pub resources: Option<k8s_cri::v1::LinuxContainerResources>,
    /// The user of its first process, if the runtime reports it: uid, gid, supplemental groups.
    pub user: Option<(i64, i64, Vec<i64>)>,
    /// The signal that ends it, if the runtime reports it.
    pub stop_signal: Option<StopSignal>,
    /// The pre-stop hook that it was created with (`io.kubernetes.container.preStopHandler`).
    pub pre_stop: Option<Hook>,
    /// Its probe results; `None` before the first result.
    pub health: Option<Box<Health>>,
}

impl ObservedContainer {
    /// The result of the probe of this kind.
    pub fn verdict(&self, kind: ProbeKind) -> Verdict {
        self.health
            .as_ref()
            .map_or(Verdict::Unknown, |health| health.get(kind).verdict)
    }

    /// Whether it runs and its startup probe, if any, has succeeded.
    pub fn has_started(&self, container: &Container) -> bool {
        let is_asked = container.probes.startup.is_some();
        let runs = matches!(self.state, ContainerState::Running { .. });
        runs && (!is_asked || self.verdict(ProbeKind::Startup) == Verdict::Success)
    }

    /// Whether it has started and its readiness probe, if any, has succeeded.
    pub fn is_ready(&self, container: &Container) -> bool {
        let is_asked = container.probes.readiness.is_some();
        self.has_started(container) && (!is_asked || self.verdict(ProbeKind::Readiness) == Verdict::Success)
    }

    /// The probe whose failure requires the container to stop.
    pub fn failed_probe(&self, container: &Container) -> Option<ProbeKind> {
        [ProbeKind::Liveness, ProbeKind::Startup]
            .into_iter()
            .find(|kind| container.probes.get(*kind).is_some() && self.verdict(*kind) == Verdict::Failure)
    }

    /// Whether it runs, or may run as far as the runtime knows.
    pub fn may_run(&self) -> bool {
        matches!(
            self.state,
            ContainerState::Running { .. } | ContainerState::Unknown
        )
    }

    /// Whether it failed, or may have. An OOM-killed container has failed whatever its exit code
    /// (`isInitContainerFailed` in `pkg/kubelet/kuberuntime/helpers.go`).
    pub fn has_failed(&self) -> bool {
        match &self.state {
            ContainerState::Exited { code, reason, .. } => *code != 0 || reason == "OOMKilled",
            ContainerState::Unknown => true,
            ContainerState::Created | ContainerState::Running { .. } => false,
        }
    }

    /// When it ended.
    pub fn finished(&self) -> Option<Timestamp> {
        match self.state {
            ContainerState::Exited { finished, .. } => Some(finished),
            _ => None,
        }
    }
}

/// What a container does.
#[derive(Debug, Clone, PartialEq)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Running.
    Running {
        /// Since when.
        started: Timestamp,
    },
    /// Ended.
    Exited {
        /// When it started; `None` if it never did.
        started: Option<Timestamp>,
        /// When it ended.
        finished: Timestamp,
        /// Its exit code.
        code: i32,
        /// The runtime's reason: `Completed`, `Error`, `OOMKilled`, `StartError`.
        reason: String,
        /// The runtime's own message.
        message: String,
        /// The termination message read from its file or from the end of its log.
        termination_message: String,
    },
    /// The runtime does not know.
    Unknown,
}

/// An image that the runtime has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedImage {
    /// Its id (`sha256:…`).
    pub id: String,
    /// Names with tags.
    pub tags: Vec<String>,
    /// Names with digests.
    pub digests: Vec<String>,
    /// Its size in bytes.
    pub size: u64,
    /// Pinned: the runtime must never garbage-collect it (the sandbox image).
    pub pinned: bool,
}

impl ObservedImage {
    /// What the runtime calls it: its ID, and its names with tags and with digests.
    pub fn ways(&self) -> impl Iterator<Item = &str> {
        let names = self.tags.iter().chain(&self.digests);
        names.chain([&self.id]).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;

    #[test]
    fn a_static_pod_is_known_by_its_sandboxes() {
        let sandbox = |source: Option<&str>, uid: Option<&str>| {
            let mut sandbox = sample::sandbox(0, true, 0);
            if let Some(source) = source {
                labels::write_origin(&mut sandbox.annotations, source, sample::at(0));
            }
            if let Some(uid) = uid {
                labels::write_static_uid(&mut sandbox.annotations, uid);
            }
            sandbox
        };
        let is_static = |pods: &[(&str, Vec<Sandbox>)]| {
            let pods = pods.iter().map(|(uid, sandboxes)| {
                let pod = ObservedPod {
                    sandboxes: sandboxes.clone(),
                    ..ObservedPod::default()
                };
                (sample::uid(uid), pod)
            });
            ObservedName { uids: pods.collect() }.is_static()
        };
        let of_file = sandbox(Some("file"), Some("u1"));
        assert!(is_static(&[("u1", vec![of_file.clone(), of_file.clone()])]));
        assert!(!is_static(&[]), "of what is not there nothing is known");
        assert!(
            !is_static(&[("u1", vec![])]),
            "nor of containers without a sandbox"
        );
        assert!(!is_static(&[("u1", vec![sandbox(Some("api"), None)])]));
        // An API pod that copies this annotation does not know the static pod's UID.
        assert!(!is_static(&[("u2", vec![of_file.clone()])]));
        let of_api = ("u2", vec![sandbox(None, None)]);
        assert!(!is_static(&[("u1", vec![of_file]), of_api]), "one of both");
    }
}
