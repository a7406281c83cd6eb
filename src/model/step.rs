//! The contract between `plan` and `act`: what is to be done, as values, and what came of it.
//!
//! A plan leaves no choice to its execution. Ids born during execution (the sandbox just made, the container
//! just created, the image's reference, the pod's address) are named symbolically and resolved by `act`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_cri::v1::{ContainerConfig, LinuxContainerResources, PodSandboxConfig};

use super::allocation::Allocation;
use super::checkpoint::Checkpoint;
use super::node::CgroupName;
use super::object::Payload;
use super::pod::{HostAlias, HostPathKind, PodName, PodUid, PullPolicy};
use super::probe::Hook;
use super::registry::Credential;
use super::resources::Bytes;
use super::run_as::RunAs;

/// What one pod needs now. Stages run one after the other, the steps of a stage at once. A failing step with
/// the subject [`Subject::Pod`] ends the plan; one of a container ends only that container's later steps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// The work.
    pub stages: Vec<Vec<Step>>,
    /// When to plan again even if nothing changes.
    pub wake_at: Option<Timestamp>,
    /// Whether the work waits for that of other pods.
    pub pace: Pace,
    /// The pod is ended, and the grace is over then: what is begun is gone on with, unless the end is to come sooner.
    pub ends: Option<Timestamp>,
}

/// Whether work waits for that of other pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// It is done in its turn: as many pods are worked on at once as the machine bears.
    #[default]
    InTurn,
    /// It is done at once: others may wait for it.
    AtOnce,
}

impl Plan {
    /// Whether there is nothing to do now.
    pub fn is_idle(&self) -> bool {
        self.stages.iter().all(Vec::is_empty)
    }
}

/// Whom a step is about, which decides what its failure stops.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The pod as a whole.
    Pod,
    /// One container, by name.
    Container(String),
}

/// The sandbox that a container is created in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxRef {
    /// One that exists.
    Id(String),
    /// The one that this plan makes.
    Made,
}

/// The container that is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerRef {
    /// One that exists, created and not started.
    Id(String),
    /// The one of that name which this plan creates.
    Made,
}

/// One thing to do. Every step may be repeated: done twice it does no harm.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Stop a running container: its hook first, then its turn, then SIGTERM (or the image's signal), after `grace`
    /// SIGKILL. Hook and turn are part of the step, because what they take is taken from the grace.
    StopContainer {
        /// The container's name in the pod.
        container: String,
        /// The runtime's id.
        id: String,
        /// How long it may take.
        grace: Duration,
        /// The event's message: `Stopping container web`.
        message: String,
        /// What is done before, for as long as the grace at most.
        pre_stop: Option<HookCall>,
        /// The instances that are stopped in the same stage and whose end is waited for before the signal, for as long
        /// as the grace at most.
        after: Vec<String>,
    },
    /// Remove a container that does not run, and its log files.
    RemoveContainer {
        /// The container's name in the pod.
        container: String,
        /// The runtime's id.
        id: String,
        /// Its log file, rotated ones lie beside it; empty: nothing to remove.
        log: PathBuf,
        /// The link in the containers' log directory.
        link: Option<PathBuf>,
    },
    /// Stop a sandbox: its network goes.
    StopSandbox {
        /// The runtime's id.
        id: String,
    },
    /// Remove a sandbox that is stopped.
    RemoveSandbox {
        /// The runtime's id.
        id: String,
    },
    /// Unmount what lies below the pod's directory and remove it.
    RemovePodDir {
        /// The directory; beneath the pods directory, no link is followed out of it.
        dir: PathBuf,
    },
    /// Remove the pod's log directory.
    RemoveLogDir {
        /// The directory.
        dir: PathBuf,
    },
    /// Kill what remains in a cgroup and remove it.
    RemoveCgroup {
        /// The cgroup.
        name: CgroupName,
    },
    /// Make a cgroup with its parents and write its values.
    EnsureCgroup(CgroupSetting),
    /// Make the pod's directory with its parts (`containers`, `volumes`, `plugins`) and its log directory.
    EnsurePodDir {
        /// The directory.
        dir: PathBuf,
        /// The log directory.
        logs: PathBuf,
    },
    /// Make a volume.
    EnsureVolume(VolumeRequest),
    /// Make and start the sandbox.
    RunSandbox(Box<SandboxRequest>),
    /// Have the image, by the policy.
    EnsureImage(ImageRequest),
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
        /// The link to make in the containers' log directory: its path without the id and `.log`, to which
        /// act appends `-<id>.log` (`<dir>/<pod>_<namespace>_<container>`), and the log file it points to.
        link: Option<(PathBuf, PathBuf)>,
    },
    /// Do what is to be done after a container's start; if that fails, the container is stopped.
    PostStart(Box<PostStart>),
    /// Keep what the pod's end has to know of it.
    KeepCheckpoint(Box<CheckpointRecord>),
    /// Keep what the pod was allotted.
    KeepAllocation(Box<AllocationRecord>),
    /// Put what the pod was allotted anew into force.
    Resize(Box<ResizeRequest>),
}

impl Step {
    /// Whom it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Step::StopContainer { container, .. }
            | Step::RemoveContainer { container, .. }
            | Step::StartContainer { container, .. } => Subject::Container(container.clone()),
            Step::EnsureImage(request) => Subject::Container(request.container.clone()),
            Step::PostStart(hook) => Subject::Container(hook.container.clone()),
            Step::CreateContainer(request) => Subject::Container(request.container.clone()),
            _ => Subject::Pod,
        }
    }

    /// Its name in reports, logs and metrics.
    pub fn verb(&self) -> &'static str {
        match self {
            Step::StopContainer { .. } => verb::STOP_CONTAINER,
            Step::RemoveContainer { .. } => verb::REMOVE_CONTAINER,
            Step::StopSandbox { .. } => verb::STOP_SANDBOX,
            Step::RemoveSandbox { .. } => verb::REMOVE_SANDBOX,
            Step::RemovePodDir { .. } => verb::REMOVE_POD_DIR,
            Step::RemoveLogDir { .. } => verb::REMOVE_LOG_DIR,
            Step::RemoveCgroup { .. } => verb::REMOVE_CGROUP,
            Step::EnsureCgroup(_) => verb::SET_CGROUP,
            Step::EnsurePodDir { .. } => verb::MAKE_POD_DIR,
            Step::EnsureVolume(_) => verb::MAKE_VOLUME,
            Step::RunSandbox(_) => verb::RUN_SANDBOX,
            Step::EnsureImage(_) => verb::ENSURE_IMAGE,
            Step::WriteHosts(_) => verb::WRITE_HOSTS,
            Step::CreateContainer(_) => verb::CREATE_CONTAINER,
            Step::StartContainer { .. } => verb::START_CONTAINER,
            Step::PostStart(_) => verb::POST_START,
            Step::KeepCheckpoint(_) => verb::KEEP_CHECKPOINT,
            Step::KeepAllocation(_) => verb::KEEP_ALLOCATION,
            Step::Resize(_) => verb::RESIZE,
        }
    }
}

/// The names of the steps.
pub mod verb {
    /// [`super::Step::StopContainer`]
    pub const STOP_CONTAINER: &str = "stop container";
    /// [`super::Step::RemoveContainer`]
    pub const REMOVE_CONTAINER: &str = "remove container";
    /// [`super::Step::StopSandbox`]
    pub const STOP_SANDBOX: &str = "stop sandbox";
    /// [`super::Step::RemoveSandbox`]
    pub const REMOVE_SANDBOX: &str = "remove sandbox";
    /// [`super::Step::RemovePodDir`]
    pub const REMOVE_POD_DIR: &str = "remove pod directory";
    /// [`super::Step::RemoveLogDir`]
    pub const REMOVE_LOG_DIR: &str = "remove log directory";
    /// [`super::Step::RemoveCgroup`]
    pub const REMOVE_CGROUP: &str = "remove cgroup";
    /// [`super::Step::EnsureCgroup`]
    pub const SET_CGROUP: &str = "set cgroup";
    /// [`super::Step::EnsurePodDir`]
    pub const MAKE_POD_DIR: &str = "make pod directory";
    /// [`super::Step::EnsureVolume`]
    pub const MAKE_VOLUME: &str = "make volume";
    /// [`super::Step::RunSandbox`]
    pub const RUN_SANDBOX: &str = "run sandbox";
    /// [`super::Step::EnsureImage`]
    pub const ENSURE_IMAGE: &str = "ensure image";
    /// [`super::Step::WriteHosts`]
    pub const WRITE_HOSTS: &str = "write hosts file";
    /// [`super::Step::CreateContainer`]
    pub const CREATE_CONTAINER: &str = "create container";
    /// [`super::Step::StartContainer`]
    pub const START_CONTAINER: &str = "start container";
    /// [`super::Step::PostStart`]
    pub const POST_START: &str = "post-start hook";
    /// [`super::Step::KeepCheckpoint`]
    pub const KEEP_CHECKPOINT: &str = "keep checkpoint";
    /// [`super::Step::KeepAllocation`]
    pub const KEEP_ALLOCATION: &str = "keep allocation";
    /// [`super::Step::Resize`]
    pub const RESIZE: &str = "resize";
}

/// What a pod's end has to know of it, to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRecord {
    /// The file.
    pub path: PathBuf,
    /// What is kept.
    pub checkpoint: Checkpoint,
    /// What becomes of the plan where it cannot be kept.
    pub if_not: IfNotKept,
}

/// What becomes of a plan whose checkpoint cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfNotKept {
    /// It goes on: the checkpoint is missed only by an agent that did not see the pod's definition.
    GoOn,
    /// It fails.
    Fail,
}

/// What a pod was allotted, to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocationRecord {
    /// The file.
    pub path: PathBuf,
    /// What is kept.
    pub allocation: Allocation,
    /// Why.
    pub occasion: Occasion,
}

/// Why an allocation is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The pod is taken on, with what it asks for.
    Begun,
    /// It gets something else from now on.
    Resized,
    /// Instances of its containers have got what was allotted, or are gone.
    Actuated,
}

/// What has to be changed, in this order; the first that fails ends it.
#[derive(Debug, Clone, PartialEq)]
pub struct ResizeRequest {
    /// Limits that may not be set below what is in use, looked at before anything is changed.
    pub floors: Vec<Floor>,
    /// The changes.
    pub changes: Vec<Change>,
}

/// A limit of memory that is lowered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// Whose it is.
    pub of: Usage,
    /// What it will be, in bytes.
    pub limit: i64,
}

/// Whose use of memory is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Usage {
    /// All that is in this cgroup.
    Pod(CgroupName),
    /// One container.
    Container {
        /// Its name in the pod.
        name: String,
        /// The runtime's id.
        id: String,
    },
}

/// One change of a running pod's resources.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Of the pod's cgroup.
    Pod(CgroupSetting),
    /// Of a container.
    Container {
        /// The runtime's id.
        id: String,
        /// All of its resources.
        resources: Box<LinuxContainerResources>,
    },
}

/// A hook to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookCall {
    /// What to do.
    pub hook: Hook,
    /// Whom a GET is sent to that names no host.
    pub host: HookHost,
}

/// Where a pod is reached from its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookHost {
    /// At that address.
    At(IpAddr),
    /// At the address of that sandbox, which is not known yet.
    OfSandbox(SandboxRef),
}

/// What is to be done after a container's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostStart {
    /// The container's name in the pod.
    pub container: String,
    /// Which instance.
    pub which: ContainerRef,
    /// The pod as messages name it: `web_default(<uid>)`.
    pub pod: String,
    /// What to do.
    pub call: HookCall,
    /// The grace of the stop that a failure brings.
    pub grace: Duration,
    /// What is done before that stop.
    pub pre_stop: Option<Hook>,
}

/// A cgroup with its values. `None`: the value is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupSetting {
    /// The cgroup.
    pub name: CgroupName,
    /// CPU weight in v1 shares (2 to 262144); on v2 converted by the kubelet's formula.
    pub cpu_shares: Option<u64>,
    /// CFS quota in microseconds a period, -1 is none; with the period in microseconds.
    pub cpu_quota: Option<(i64, u64)>,
    /// Memory limit; -1 is none.
    pub memory_limit: Option<i64>,
    /// The largest number of processes; -1 is none.
    pub pids_max: Option<i64>,
    /// Huge page limits, bytes by page size.
    pub hugepages: Vec<(Bytes, i64)>,
}

impl CgroupSetting {
    /// The shares as `cpu.weight` (1 to 10000) of cgroup v2, by the kubelet's linear formula (`getCPUWeight`
    /// in `pkg/kubelet/cm/cgroup_manager_linux.go`). Runtimes use another one for their containers.
    pub fn cpu_weight(&self) -> Option<u64> {
        let shares = self.cpu_shares?.clamp(2, 262_144);
        Some(1 + (shares - 2) * 9999 / 262_142)
    }
}

/// A volume to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRequest {
    /// Its name in the pod.
    pub volume: String,
    /// What to make.
    pub kind: VolumeKind,
}

/// What a volume is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeKind {
    /// A directory on disk, mode 0777.
    Directory {
        /// Where.
        path: PathBuf,
        /// The group that owns it (`fsGroup`).
        group: Option<i64>,
    },
    /// A tmpfs, mode 0777.
    Tmpfs {
        /// Where.
        path: PathBuf,
        /// `size=`; `None`: the kernel's default.
        size: Option<Bytes>,
        /// The group that owns it (`fsGroup`).
        group: Option<i64>,
    },
    /// A path of the host that is checked, or made.
    HostPath {
        /// Where.
        path: PathBuf,
        /// What must be there.
        kind: HostPathKind,
    },
    /// Files that are made, or brought up to date, all at once.
    Files {
        /// Where.
        path: PathBuf,
        /// Not on a disk but on a tmpfs, and of which size.
        tmpfs: Option<Option<Bytes>>,
        /// The group that owns it (`fsGroup`).
        group: Option<i64>,
        /// The files.
        files: Arc<Payload>,
    },
    /// One that cannot be made, and why; told like a failure to make it.
    Missing {
        /// `configmap "a" not found`
        message: String,
    },
}

/// Stands in the texts of a [`ContainerRequest`] for the address of the sandbox that the plan makes: no
/// environment and no path can have a NUL.
pub const POD_IP: &str = "\0podIP\0";
/// The same for all its addresses, with commas between them.
pub const POD_IPS: &str = "\0podIPs\0";

/// A part of a volume that is mounted at a place of its own before a container is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubPathMount {
    /// The volume's name in the pod.
    pub volume: String,
    /// Where the volume lies.
    pub root: PathBuf,
    /// The part, relative; not to be followed out of `root`. A directory that is missing is made.
    pub path: String,
    /// Where it is mounted, anew each time; it is among the container's mounts.
    pub target: PathBuf,
}

/// A sandbox to make.
#[derive(Debug, Clone, PartialEq)]
pub struct SandboxRequest {
    /// The request.
    pub config: PodSandboxConfig,
    /// Which of the runtime's handlers makes it, empty for the default one; or why that is not known, told like a
    /// failure to make it.
    pub handler: Result<String, String>,
}

/// An image to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRequest {
    /// The container that wants it.
    pub container: String,
    /// The image as the manifest writes it.
    pub image: String,
    /// When to pull.
    pub pull: PullPolicy,
    /// What the pod has to show the registry, in the order in which it is tried, before what the node has; or why
    /// that cannot be told.
    pub credentials: Result<Vec<Credential>, String>,
    /// What the container says about its user, which decides whether it may be created from the image.
    pub run_as: RunAs,
}

/// The file that containers see as /etc/hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostsFile {
    /// Where it is written.
    pub path: PathBuf,
    /// With the host's network: the host's own file is the beginning.
    pub host_network: bool,
    /// The pod's host name.
    pub hostname: String,
    /// The pod's domain (`<subdomain>.<namespace>.svc.<cluster domain>`), where it has one.
    pub domain: Option<String>,
    /// `hostAliases`
    pub aliases: Vec<HostAlias>,
    /// The sandbox's addresses where it exists already; else those of the sandbox that this plan makes.
    pub ips: Vec<IpAddr>,
}

/// A container to create. Printing it does not show its environment, which may have been a Secret.
#[derive(Clone, PartialEq)]
pub struct ContainerRequest {
    /// Its name in the pod.
    pub container: String,
    /// The sandbox it goes into.
    pub sandbox: SandboxRef,
    /// The sandbox's configuration, which the runtime wants to be told again.
    pub sandbox_config: Arc<PodSandboxConfig>,
    /// The request; its image is filled in with the reference that the image step found.
    pub config: ContainerConfig,
    /// The file for the termination message, to be made empty with mode 0666 before; it is among the mounts.
    pub termination_file: Option<PathBuf>,
    /// The parts of volumes that it mounts.
    pub sub_paths: Vec<SubPathMount>,
    /// Why it cannot be created, where `plan` found that out; told like a failure to create it.
    pub refusal: Option<String>,
}

impl std::fmt::Debug for ContainerRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContainerRequest")
            .field("container", &self.container)
            .field("sandbox", &self.sandbox)
            .field("termination_file", &self.termination_file)
            .field("sub_paths", &self.sub_paths)
            .field("refusal", &self.refusal)
            .finish_non_exhaustive()
    }
}

/// What came of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Whom it was about.
    pub subject: Subject,
    /// [`Step::verb`].
    pub verb: &'static str,
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub result: Result<Done, StepError>,
}

/// What a finished step tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// No more than that it is done.
    Plainly,
    /// The image was there already.
    ImagePresent {
        /// As asked for.
        image: String,
    },
    /// The image was pulled.
    ImagePulled {
        /// As asked for.
        image: String,
        /// Bytes of the image.
        size: u64,
        /// How long the pull itself took.
        pull: Duration,
        /// How long it took with waiting for other pulls.
        waited: Duration,
    },
    /// A sandbox was made.
    Sandbox {
        /// Its id.
        id: String,
    },
    /// A container was created or started.
    Container {
        /// Its id.
        id: String,
    },
    /// The files of a volume are these now.
    Written {
        /// The volume's name in the pod.
        volume: String,
        /// The files.
        files: Arc<Payload>,
    },
    /// What the pod was allotted is kept.
    Kept {
        /// What it is.
        allocation: Box<Allocation>,
        /// Why.
        occasion: Occasion,
    },
    /// A container was asked to stop.
    Stopped {
        /// What became of the hook before.
        hook: HookResult,
    },
}

/// Something that may take long begins. It is reported at once, as the kubelet does, and not with what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// The pod that it is done for.
    pub pod: PodName,
    /// Its UID.
    pub uid: PodUid,
    /// The container's name in the pod.
    pub container: String,
    /// When it begins.
    pub at: Timestamp,
    /// What it is.
    pub what: Lengthy,
}

/// What is reported when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lengthy {
    /// An image is pulled.
    Pull {
        /// As asked for.
        image: String,
    },
    /// A container is stopped.
    Stop {
        /// The event's message: `Stopping container web`.
        message: String,
    },
    /// A container is stopped because its hook after the start has failed.
    StopAfterFailedHook,
}

/// What became of a hook that does not decide about its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookResult {
    /// It did its work, or there was none.
    Done,
    /// It failed, or was not done when the grace was over.
    Failed,
}

/// Why a step failed, in the kubelet's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepError {
    /// The reason as a container's waiting state shows it: `ErrImagePull`, `CreateContainerConfigError`, …
    pub reason: &'static str,
    /// The message as a container's waiting state shows it.
    pub message: String,
    /// The runtime could not be reached at all: no back-off is counted, it is tried again when it answers.
    pub unreachable: bool,
}

/// What came of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The pod.
    pub pod: PodName,
    /// The UID that the plan was made for, or whose remains were removed.
    pub uid: PodUid,
    /// When the last step ended.
    pub at: Timestamp,
    /// Each step that was begun, in the order in which they ended.
    pub steps: Vec<StepReport>,
}
