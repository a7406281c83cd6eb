//! The contract between `plan` and `act`: the steps to perform, as values. What they carry is in [`super::request`], what
//! comes of them in [`super::outcome`].
//!
//! A plan leaves no decision to its execution. Values that arise during execution (the id of the new sandbox or
//! container, the image's reference, the pod's address) are named symbolically and resolved by `act`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::expansion::ExpansionRequest;
use super::image_mount::VolumeImageRequest;
use super::node::CgroupName;
use super::request::{
    AllocationRecord, CgroupSetting, CheckpointRecord, ContainerRef, ContainerRequest, HookCall, HostsFile,
    ImageRequest, PostStart, ResizeRequest, SandboxRequest, VolumeRequest,
};

/// What one pod needs now. Stages run in sequence, the steps of a stage concurrently. What a failing step holds up is
/// decided by its [`Subject`]: see [`Failed`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// The work.
    pub stages: Vec<Vec<Step>>,
    /// When to plan again if nothing changes.
    pub wake_at: Option<Timestamp>,
    /// Whether the work waits for that of other pods.
    pub pace: Pace,
    /// The deadline of the pod's termination. A termination in progress continues, unless a later plan sets an earlier
    /// deadline.
    pub ends: Option<Timestamp>,
}

/// Whether work waits for that of other pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// It waits for its turn; the number of pods worked on at once depends on the machine.
    #[default]
    InTurn,
    /// It runs immediately, because other pods may wait for it.
    AtOnce,
}

impl Plan {
    /// Whether it can wait for whatever else the pod needs: a driver that does not answer must not keep a container from
    /// being restarted.
    pub fn yields(&self) -> bool {
        let yields = |step: &Step| matches!(step, Step::RepublishVolume(_) | Step::ExpandVolume(_));
        self.stages.iter().flatten().all(yields)
    }

    /// Whether there is nothing to do now.
    pub fn is_idle(&self) -> bool {
        self.stages.iter().all(Vec::is_empty)
    }
}

/// What a step is about, which decides what its failure stops.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The pod as a whole: no later stage is executed.
    Pod,
    /// One volume, by name: of the later stages only what ends or removes something is executed, as the kubelet starts
    /// nothing without all volumes (`WaitForAttachAndMount` in `pkg/kubelet/kubelet.go`).
    Volume(String),
    /// The image of a volume, by the volume's name. Its failure stops nothing by itself: containers that mount the volume
    /// fail when they are created, the others are started (`toKubeContainerImageVolumes` in `pkg/kubelet/kuberuntime`).
    ImageVolume(String),
    /// One container, by name: its own later steps are not executed.
    Container(String),
}

/// What has failed so far while a plan is executed. It answers for one step without going through all failures: a pod's
/// author chooses how many containers and volumes there are.
#[derive(Debug, Clone, Default)]
pub struct Failed {
    pod: bool,
    volume: bool,
    /// By name.
    containers: BTreeSet<String>,
}

impl Failed {
    /// Records the failure of a step about this.
    pub fn add(&mut self, subject: &Subject) {
        match subject {
            Subject::Pod => self.pod = true,
            Subject::Volume(_) => self.volume = true,
            Subject::ImageVolume(_) => {}
            Subject::Container(name) => {
                self.containers.insert(name.clone());
            }
        }
    }

    /// Whether no later stage is executed.
    pub fn ends_plan(&self) -> bool {
        self.pod
    }

    /// Whether a step of a later stage is not executed.
    pub fn holds(&self, step: &Step) -> bool {
        let is_of_failed = || {
            step.container()
                .is_some_and(|name| self.containers.contains(name))
        };
        self.pod || (self.volume && !step.kind().removes()) || is_of_failed()
    }
}

/// One action. Every step is idempotent.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Stop a running container: run its hook, wait for its turn, send SIGTERM (or the image's signal), and SIGKILL
    /// after `grace`. Hook and turn are part of the step, because their time counts against the grace period.
    StopContainer {
        /// The container's name in the pod.
        container: String,
        /// The runtime's ID.
        id: String,
        /// How long it may take.
        grace: Duration,
        /// The event's message: `Stopping container web`.
        message: String,
        /// The hook to run first, for at most the grace period.
        pre_stop: Option<HookCall>,
        /// The instances that are stopped in the same stage and must end before the signal is sent, for at most the
        /// grace period.
        after: Vec<String>,
    },
    /// Remove a container that does not run, and its log files.
    RemoveContainer {
        /// The container's name in the pod.
        container: String,
        /// The runtime's ID.
        id: String,
        /// Its log file, with rotated ones beside it; empty: nothing to remove.
        log: PathBuf,
        /// The link in the containers' log directory.
        link: Option<PathBuf>,
    },
    /// Stop a sandbox and tear down its network.
    StopSandbox {
        /// The runtime's ID.
        id: String,
    },
    /// Remove a sandbox that is stopped.
    RemoveSandbox {
        /// The runtime's ID.
        id: String,
    },
    /// Unmount everything below the pod's directory and remove it.
    RemovePodDir {
        /// The directory, resolved beneath the pods directory; no link is followed out of it.
        dir: PathBuf,
    },
    /// Remove the pod's log directory, and the links into it.
    RemoveLogDir {
        /// The directory.
        dir: PathBuf,
        /// The directory of links to the logs of all pods. That of a container which somebody else has removed is there
        /// still.
        links: PathBuf,
    },
    /// Kill what remains in a cgroup and remove it.
    RemoveCgroup {
        /// The cgroup.
        name: CgroupName,
    },
    /// Create a cgroup with its parents and write its values.
    EnsureCgroup(CgroupSetting),
    /// Create the pod's directory with its subdirectories (`containers`, `volumes`, `plugins`) and its log directory.
    EnsurePodDir {
        /// The directory.
        dir: PathBuf,
        /// The log directory.
        logs: PathBuf,
    },
    /// Make a volume.
    EnsureVolume(VolumeRequest),
    /// Enlarge a volume.
    ExpandVolume(Box<ExpansionRequest>),
    /// Publish a volume of a driver again.
    RepublishVolume(VolumeRequest),
    /// Create and start the sandbox.
    RunSandbox(Box<SandboxRequest>),
    /// Ensure that the image is present, by the pull policy.
    EnsureImage(ImageRequest),
    /// Ensure that the image of a volume is present, by the volume's pull policy.
    EnsureVolumeImage(VolumeImageRequest),
    /// Write the file that containers see as /etc/hosts.
    WriteHosts(HostsFile),
    /// Create a container.
    CreateContainer(Box<ContainerRequest>),
    /// Start a container.
    StartContainer {
        /// The container's name in the pod.
        container: String,
        /// Which instance.
        which: ContainerRef,
        /// The link to create in the containers' log directory: its path without the id and `.log`, to which `act`
        /// appends `-<id>.log` (`<dir>/<pod>_<namespace>_<container>`), and the log file that it points to.
        link: Option<(PathBuf, PathBuf)>,
    },
    /// Run the post-start hook; if it fails, the container is stopped.
    PostStart(Box<PostStart>),
    /// Write the pod's checkpoint.
    WriteCheckpoint(Box<CheckpointRecord>),
    /// Write the pod's allocation.
    WriteAllocation(Box<AllocationRecord>),
    /// Actuate a resize of the pod.
    Resize(Box<ResizeRequest>),
}

impl Step {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        match (self.container(), self) {
            (Some(container), _) => Subject::Container(container.to_owned()),
            (None, Step::EnsureVolume(request) | Step::RepublishVolume(request)) => {
                Subject::Volume(request.volume.clone())
            }
            (None, Step::ExpandVolume(request)) => Subject::Volume(request.volume.clone()),
            (None, Step::EnsureVolumeImage(request)) => Subject::ImageVolume(request.volume.clone()),
            (None, _) => Subject::Pod,
        }
    }

    /// The name of the container that it is about, if it is about one.
    fn container(&self) -> Option<&str> {
        match self {
            Step::StopContainer { container, .. }
            | Step::RemoveContainer { container, .. }
            | Step::StartContainer { container, .. } => Some(container),
            Step::EnsureImage(request) => Some(&request.container),
            Step::PostStart(hook) => Some(&hook.container),
            Step::CreateContainer(request) => Some(&request.container),
            _ => None,
        }
    }

    /// Which step it is.
    pub fn kind(&self) -> StepKind {
        match self {
            Step::StopContainer { .. } => StepKind::StopContainer,
            Step::RemoveContainer { .. } => StepKind::RemoveContainer,
            Step::StopSandbox { .. } => StepKind::StopSandbox,
            Step::RemoveSandbox { .. } => StepKind::RemoveSandbox,
            Step::RemovePodDir { .. } => StepKind::RemovePodDir,
            Step::RemoveLogDir { .. } => StepKind::RemoveLogDir,
            Step::RemoveCgroup { .. } => StepKind::RemoveCgroup,
            Step::EnsureCgroup(_) => StepKind::EnsureCgroup,
            Step::EnsurePodDir { .. } => StepKind::EnsurePodDir,
            Step::EnsureVolume(_) => StepKind::EnsureVolume,
            Step::ExpandVolume(_) => StepKind::ExpandVolume,
            Step::RepublishVolume(_) => StepKind::RepublishVolume,
            Step::RunSandbox(_) => StepKind::RunSandbox,
            Step::EnsureImage(_) => StepKind::EnsureImage,
            Step::EnsureVolumeImage(_) => StepKind::EnsureVolumeImage,
            Step::WriteHosts(_) => StepKind::WriteHosts,
            Step::CreateContainer(_) => StepKind::CreateContainer,
            Step::StartContainer { .. } => StepKind::StartContainer,
            Step::PostStart(_) => StepKind::PostStart,
            Step::WriteCheckpoint(_) => StepKind::WriteCheckpoint,
            Step::WriteAllocation(_) => StepKind::WriteAllocation,
            Step::Resize(_) => StepKind::Resize,
        }
    }
}

/// Which step of a plan, without what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepKind {
    /// [`Step::StopContainer`]
    StopContainer,
    /// [`Step::RemoveContainer`]
    RemoveContainer,
    /// [`Step::StopSandbox`]
    StopSandbox,
    /// [`Step::RemoveSandbox`]
    RemoveSandbox,
    /// [`Step::RemovePodDir`]
    RemovePodDir,
    /// [`Step::RemoveLogDir`]
    RemoveLogDir,
    /// [`Step::RemoveCgroup`]
    RemoveCgroup,
    /// [`Step::EnsureCgroup`]
    EnsureCgroup,
    /// [`Step::EnsurePodDir`]
    EnsurePodDir,
    /// [`Step::EnsureVolume`]
    EnsureVolume,
    /// [`Step::ExpandVolume`]
    ExpandVolume,
    /// [`Step::RepublishVolume`]
    RepublishVolume,
    /// [`Step::RunSandbox`]
    RunSandbox,
    /// [`Step::EnsureImage`]
    EnsureImage,
    /// [`Step::EnsureVolumeImage`]
    EnsureVolumeImage,
    /// [`Step::WriteHosts`]
    WriteHosts,
    /// [`Step::CreateContainer`]
    CreateContainer,
    /// [`Step::StartContainer`]
    StartContainer,
    /// [`Step::PostStart`]
    PostStart,
    /// [`Step::WriteCheckpoint`]
    WriteCheckpoint,
    /// [`Step::WriteAllocation`]
    WriteAllocation,
    /// [`Step::Resize`]
    Resize,
}

impl StepKind {
    /// Its name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            StepKind::StopContainer => "stop container",
            StepKind::RemoveContainer => "remove container",
            StepKind::StopSandbox => "stop sandbox",
            StepKind::RemoveSandbox => "remove sandbox",
            StepKind::RemovePodDir => "remove pod directory",
            StepKind::RemoveLogDir => "remove log directory",
            StepKind::RemoveCgroup => "remove cgroup",
            StepKind::EnsureCgroup => "set cgroup",
            StepKind::EnsurePodDir => "make pod directory",
            StepKind::EnsureVolume => "make volume",
            StepKind::ExpandVolume => "expand volume",
            StepKind::RepublishVolume => "publish volume again",
            StepKind::RunSandbox => "run sandbox",
            StepKind::EnsureImage => "ensure image",
            StepKind::EnsureVolumeImage => "ensure image of volume",
            StepKind::WriteHosts => "write hosts file",
            StepKind::CreateContainer => "create container",
            StepKind::StartContainer => "start container",
            StepKind::PostStart => "post-start hook",
            StepKind::WriteCheckpoint => "write checkpoint",
            StepKind::WriteAllocation => "write allocation",
            StepKind::Resize => "resize",
        }
    }

    /// Whether it is part of an attempt to start a container; its failure delays that container only.
    pub fn starts_container(self) -> bool {
        matches!(
            self,
            StepKind::EnsureImage
                | StepKind::CreateContainer
                | StepKind::StartContainer
                | StepKind::PostStart
        )
    }

    /// Whether it ends or removes something; its failure delays the end of a pod.
    pub fn removes(self) -> bool {
        matches!(
            self,
            StepKind::StopContainer
                | StepKind::RemoveContainer
                | StepKind::StopSandbox
                | StepKind::RemoveSandbox
                | StepKind::RemovePodDir
                | StepKind::RemoveLogDir
                | StepKind::RemoveCgroup
        )
    }
}

impl std::fmt::Display for StepKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(container: &str) -> Step {
        Step::StopContainer {
            container: container.to_owned(),
            id: format!("{container}0"),
            grace: Duration::ZERO,
            message: String::new(),
            pre_stop: None,
            after: Vec::new(),
        }
    }

    fn start(container: &str) -> Step {
        Step::StartContainer {
            container: container.to_owned(),
            which: ContainerRef::Id(format!("{container}0")),
            link: None,
        }
    }

    /// Which of a few later steps are held after the failures.
    fn check(failures: &[Subject], expected: &[&str]) {
        let mut failed = Failed::default();
        failures.iter().for_each(|subject| failed.add(subject));
        let later = [
            ("start a", start("a")),
            ("start b", start("b")),
            ("stop a", stop("a")),
            ("stop b", stop("b")),
            (
                "make directory",
                Step::EnsurePodDir {
                    dir: PathBuf::new(),
                    logs: PathBuf::new(),
                },
            ),
            ("remove directory", Step::RemovePodDir { dir: PathBuf::new() }),
        ];
        let held = later.iter().filter(|(_, step)| failed.holds(step));
        let held: Vec<_> = held.map(|(name, _)| *name).collect();
        assert_eq!(held, expected, "{failures:?}");
        assert_eq!(
            failed.ends_plan(),
            failures.contains(&Subject::Pod),
            "{failures:?}"
        );
    }

    #[test]
    fn a_failure_holds_what_its_subject_says() {
        let container = |name: &str| Subject::Container(name.to_owned());
        let volume = || Subject::Volume("v".to_owned());
        let all = [
            "start a",
            "start b",
            "stop a",
            "stop b",
            "make directory",
            "remove directory",
        ];
        check(&[], &[]);
        check(&[container("a")], &["start a", "stop a"]);
        check(&[container("a"), container("b")], &all[..4]);
        check(&[container("v")], &[]);
        check(&[volume()], &["start a", "start b", "make directory"]);
        check(&[Subject::ImageVolume("v".to_owned())], &[]);
        check(&[volume(), volume()], &["start a", "start b", "make directory"]);
        check(
            &[volume(), container("a")],
            &["start a", "start b", "stop a", "make directory"],
        );
        check(&[Subject::Pod], &all);
        check(&[Subject::Pod, volume(), container("a")], &all);
    }
}
