//! The contract between `plan` and `act`: the steps to perform, as values, and their results.
//!
//! A plan leaves no decision to its execution. Values that arise during execution (the id of the new sandbox or
//! container, the image's reference, the pod's address) are named symbolically and resolved by `act`.

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

/// What one pod needs now. Stages run in sequence, the steps of a stage concurrently. A failing step with the subject
/// [`Subject::Pod`] ends the plan; a failing step of a container ends only that container's later steps.
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
    /// Whether there is nothing to do now.
    pub fn is_idle(&self) -> bool {
        self.stages.iter().all(Vec::is_empty)
    }
}

/// What a step is about, which decides what its failure stops.
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
    /// The one that this plan creates.
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
    /// Create and start the sandbox.
    RunSandbox(Box<SandboxRequest>),
    /// Ensure that the image is present, by the pull policy.
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
        /// The link to create in the containers' log directory: its path without the id and `.log`, to which `act`
        /// appends `-<id>.log` (`<dir>/<pod>_<namespace>_<container>`), and the log file that it points to.
        link: Option<(PathBuf, PathBuf)>,
    },
    /// Run the post-start hook; if it fails, the container is stopped.
    PostStart(Box<PostStart>),
    /// Write the pod's checkpoint.
    KeepCheckpoint(Box<CheckpointRecord>),
    /// Write the pod's allocation.
    KeepAllocation(Box<AllocationRecord>),
    /// Actuate a resize of the pod.
    Resize(Box<ResizeRequest>),
}

impl Step {
    /// What it is about.
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
    pub const KEEP_CHECKPOINT: &str = "write checkpoint";
    /// [`super::Step::KeepAllocation`]
    pub const KEEP_ALLOCATION: &str = "write allocation";
    /// [`super::Step::Resize`]
    pub const RESIZE: &str = "resize";
}

/// A checkpoint to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRecord {
    /// The file.
    pub path: PathBuf,
    /// The recorded state.
    pub checkpoint: Checkpoint,
    /// What happens to the plan if the file cannot be written.
    pub if_not: IfNotKept,
}

/// What happens to a plan whose checkpoint cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfNotKept {
    /// It continues: only an agent that did not see the pod's definition misses the checkpoint.
    GoOn,
    /// It fails.
    Fail,
}

/// An allocation to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocationRecord {
    /// The file.
    pub path: PathBuf,
    /// The recorded state.
    pub allocation: Allocation,
    /// Why.
    pub occasion: Occasion,
}

/// Why an allocation is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The pod is admitted, with what it requests.
    Begun,
    /// A resize was allocated.
    Resized,
    /// Instances of its containers were resized, or are gone.
    Actuated,
}

/// The changes to make, in this order; the first failure ends the step.
#[derive(Debug, Clone, PartialEq)]
pub struct ResizeRequest {
    /// Limits that must not be set below the current usage; checked before anything is changed.
    pub floors: Vec<Floor>,
    /// The changes.
    pub changes: Vec<Change>,
}

/// A limit of memory that is lowered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// Its owner.
    pub of: Usage,
    /// What it will be, in bytes.
    pub limit: i64,
}

/// Whose memory usage is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Usage {
    /// Everything in this cgroup.
    Pod(CgroupName),
    /// One container.
    Container {
        /// Its name in the pod.
        name: String,
        /// The runtime's ID.
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
        /// The runtime's ID.
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
    /// The host that a GET without a host is sent to.
    pub host: HookHost,
}

/// Where a pod is reached from its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookHost {
    /// At that address.
    At(IpAddr),
    /// At the address of this sandbox, which is not known yet.
    OfSandbox(SandboxRef),
}

/// A post-start hook.
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
    /// The grace period of the stop after a failure.
    pub grace: Duration,
    /// The pre-stop hook of that stop.
    pub pre_stop: Option<Hook>,
}

/// A cgroup with its values. `None`: the value is not changed.
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
    /// A path of the host that is checked or created.
    HostPath {
        /// Where.
        path: PathBuf,
        /// What must be there.
        kind: HostPathKind,
    },
    /// Files that are created or updated, all at once.
    Files {
        /// Where.
        path: PathBuf,
        /// `Some`: on a tmpfs instead of a disk, with its size.
        tmpfs: Option<Option<Bytes>>,
        /// The group that owns it (`fsGroup`).
        group: Option<i64>,
        /// The files.
        files: Arc<Payload>,
    },
    /// A volume that cannot be made, and why; reported like a failure to make it.
    Missing {
        /// `configmap "a" not found`
        message: String,
    },
}

/// A placeholder in the texts of a [`ContainerRequest`] for the address of the sandbox that the plan creates. No
/// environment variable and no path can contain a NUL.
pub const POD_IP: &str = "\0podIP\0";
/// The same for all its addresses, separated by commas.
pub const POD_IPS: &str = "\0podIPs\0";

/// A part of a volume that is mounted separately before a container is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubPathMount {
    /// The volume's name in the pod.
    pub volume: String,
    /// Where the volume is.
    pub root: PathBuf,
    /// The part, relative; resolved beneath `root`. A missing directory is created.
    pub path: String,
    /// Where it is mounted, each time afresh; it is among the container's mounts.
    pub target: PathBuf,
}

/// A sandbox to make.
#[derive(Debug, Clone, PartialEq)]
pub struct SandboxRequest {
    /// The request.
    pub config: PodSandboxConfig,
    /// The runtime handler for the sandbox, empty for the default one; or why it is unknown, reported like a failure to
    /// create the sandbox.
    pub handler: Result<String, String>,
}

/// An image to ensure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRequest {
    /// The container that needs it.
    pub container: String,
    /// The image as the manifest writes it.
    pub image: String,
    /// When to pull.
    pub pull: PullPolicy,
    /// The pod's registry credentials, in the order in which they are tried, before the node's own; or why they cannot
    /// be determined.
    pub credentials: Result<Vec<Credential>, String>,
    /// The container's user settings, which decide whether it may be created from the image.
    pub run_as: RunAs,
}

/// The file that containers see as /etc/hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostsFile {
    /// Where it is written.
    pub path: PathBuf,
    /// For a pod with the host's network: the file starts with the host's own /etc/hosts.
    pub host_network: bool,
    /// The pod's host name.
    pub hostname: String,
    /// The pod's domain (`<subdomain>.<namespace>.svc.<cluster domain>`), if it has one.
    pub domain: Option<String>,
    /// `hostAliases`
    pub aliases: Vec<HostAlias>,
    /// The sandbox's addresses if it exists; if empty, those of the sandbox that this plan creates.
    pub ips: Vec<IpAddr>,
}

/// A container to create. Printing it does not show its environment, which may come from a Secret.
#[derive(Clone, PartialEq)]
pub struct ContainerRequest {
    /// Its name in the pod.
    pub container: String,
    /// The sandbox it goes into.
    pub sandbox: SandboxRef,
    /// The sandbox's configuration, which CRI requires again.
    pub sandbox_config: Arc<PodSandboxConfig>,
    /// The request; its image is replaced by the reference that the image step returned.
    pub config: ContainerConfig,
    /// The file for the termination message, created empty with mode 0666 before; it is among the mounts.
    pub termination_file: Option<PathBuf>,
    /// The parts of volumes that it mounts.
    pub sub_paths: Vec<SubPathMount>,
    /// Why it cannot be created, if `plan` found that out; reported like a failure to create it.
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

/// The result of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// What it was about.
    pub subject: Subject,
    /// [`Step::verb`].
    pub verb: &'static str,
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The result.
    pub result: Result<Done, StepError>,
}

/// What a finished step returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Nothing but success.
    Plainly,
    /// The image was there already.
    ImagePresent {
        /// As requested.
        image: String,
    },
    /// The image was pulled.
    ImagePulled {
        /// As requested.
        image: String,
        /// Bytes of the image.
        size: u64,
        /// How long the pull itself took.
        pull: Duration,
        /// How long it took, including the wait for other pulls.
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
    /// The files of a volume were written.
    Written {
        /// The volume's name in the pod.
        volume: String,
        /// The files.
        files: Arc<Payload>,
    },
    /// The pod's allocation was written.
    Kept {
        /// What it is.
        allocation: Box<Allocation>,
        /// Why.
        occasion: Occasion,
    },
    /// The container was sent its stop signal.
    Stopped {
        /// The result of the pre-stop hook.
        hook: HookResult,
    },
}

/// The start of an action that may take long. It is reported immediately, as the kubelet does, and not with the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// The pod.
    pub pod: PodName,
    /// Its UID.
    pub uid: PodUid,
    /// The container's name in the pod.
    pub container: String,
    /// When it starts.
    pub at: Timestamp,
    /// What it is.
    pub what: Lengthy,
}

/// An action whose start is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lengthy {
    /// An image is pulled.
    Pull {
        /// As requested.
        image: String,
    },
    /// A container is stopped.
    Stop {
        /// The event's message: `Stopping container web`.
        message: String,
    },
    /// A container is stopped because its post-start hook failed.
    StopAfterFailedHook,
}

/// The result of a hook that does not decide the result of its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookResult {
    /// It succeeded, or there was none.
    Done,
    /// It failed, or had not ended when the grace period was over.
    Failed,
}

/// Why a step failed, in the kubelet's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepError {
    /// The reason as a container's waiting state shows it: `ErrImagePull`, `CreateContainerConfigError`, …
    pub reason: &'static str,
    /// The message as a container's waiting state shows it.
    pub message: String,
    /// The runtime could not be reached at all: no back-off applies, and the step is retried when the runtime answers.
    pub unreachable: bool,
}

/// The result of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The pod.
    pub pod: PodName,
    /// The UID that the plan was made for, or whose leftovers were removed.
    pub uid: PodUid,
    /// When the last step ended.
    pub at: Timestamp,
    /// Each step that was started, in the order in which they ended.
    pub steps: Vec<StepReport>,
}
