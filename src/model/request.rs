//! What the steps of a plan carry: requests as values.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_cri::v1::{ContainerConfig, LinuxContainerResources, PodSandboxConfig};

use super::allocation::Allocation;
use super::checkpoint::Checkpoint;
use super::csi_request::CsiRequest;
use super::env_file::EnvFileKey;
use super::image_mount::ImageMount;
use super::local_volume::{LocalDevice, LocalVolume};
use super::memory_rules::MemoryProtection;
use super::network_disk::{NetworkDiskDevice, NetworkDiskVolume};
use super::nfs::NfsMount;
use super::node::CgroupName;
use super::object::Payload;
use super::pod::{HostAlias, HostPathKind, PullPolicy};
use super::probe::Hook;
use super::registry::Credential;
use super::resources::Bytes;
use super::run_as::RunAs;
use super::stop_signal::StopSignal;

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

/// A checkpoint to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRecord {
    /// The file.
    pub path: PathBuf,
    /// The recorded state.
    pub checkpoint: Checkpoint,
    /// What happens to the plan if the file cannot be written.
    pub on_failure: OnWriteFailure,
}

/// What happens to a plan whose checkpoint cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnWriteFailure {
    /// It continues: only an agent that did not see the pod's definition misses the checkpoint.
    Continue,
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
    /// Which part of its memory is protected from being reclaimed; cgroup v2 only.
    pub memory_protection: MemoryProtection,
    /// The largest number of processes; -1 is none.
    pub pids_max: Option<i64>,
    /// Huge page limits, bytes by page size.
    pub hugepages: Vec<(Bytes, i64)>,
}

impl CgroupSetting {
    /// A cgroup none of whose values is changed.
    pub fn untouched(name: CgroupName) -> CgroupSetting {
        CgroupSetting {
            name,
            cpu_shares: None,
            cpu_quota: None,
            memory_limit: None,
            memory_protection: MemoryProtection::default(),
            pids_max: None,
            hugepages: Vec::new(),
        }
    }

    /// The shares as `cpu.weight` (1 to 10000) of cgroup v2, by the kubelet's linear formula (`getCPUWeight`
    /// in `pkg/kubelet/cm/cgroup_manager_linux.go`). Runtimes use another one for their containers.
    pub fn cpu_weight(&self) -> Option<u64> {
        let shares = self.cpu_shares?.clamp(2, 262_144);
        Some(1 + (shares - 2) * 9999 / 262_142)
    }
}

/// A volume to make.
#[derive(Debug, Clone, PartialEq)]
pub struct VolumeRequest {
    /// Its name in the pod.
    pub volume: String,
    /// What messages call it: of a claim, its PersistentVolume.
    pub called: String,
    /// What to make.
    pub kind: VolumeKind,
}

/// What a volume is made of.
#[derive(Debug, Clone, PartialEq)]
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
    /// Huge pages, mode 0777.
    HugePages {
        /// Where.
        path: PathBuf,
        /// The size of each.
        page: Bytes,
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
    /// A `local` PersistentVolume.
    Local(Box<LocalVolume>),
    /// The same, as a device.
    LocalDevice(LocalDevice),
    /// A directory of an NFS server.
    Nfs(NfsMount),
    /// A disk of a storage network.
    NetworkDisk(Box<NetworkDiskVolume>),
    /// The same, as a device.
    NetworkDiskDevice(Box<NetworkDiskDevice>),
    /// A volume of a CSI driver.
    Csi(Box<CsiRequest>),
    /// A volume for which the node has no room: a pod of which nothing runs is rejected.
    Exhausted {
        /// Why it is not attached.
        message: String,
    },
    /// A volume that cannot be made; reported like a failure to make it.
    Missing {
        /// The whole message: that of [`set_up_failed`], or the kubelet's about a volume of which it is not known what
        /// it is.
        message: String,
    },
}

/// The kubelet's message about a volume that cannot be made, and why: `configmap "a" not found`.
pub fn set_up_failed(volume: &str, why: impl std::fmt::Display) -> String {
    format!("MountVolume.SetUp failed for volume {volume:?} : {why}")
}

/// The message about a volume that takes long: what is waited for.
pub fn set_up_slow(called: &str, what: &str) -> String {
    format!("MountVolume.SetUp for volume {called:?} takes long: waiting for {what}")
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
    /// Where the values come from whose placeholders are in the request.
    pub env_files: Vec<EnvFileKey>,
    /// The signal that ends it, which the messages of the crate cannot carry.
    pub stop_signal: Option<StopSignal>,
    /// The file for the termination message, created empty with mode 0666 before; it is among the mounts.
    pub termination_file: Option<PathBuf>,
    /// The parts of volumes that it mounts.
    pub sub_paths: Vec<SubPathMount>,
    /// The images that it mounts.
    pub image_mounts: Vec<ImageMount>,
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
            .field("image_mounts", &self.image_mounts)
            .field("refusal", &self.refusal)
            .finish_non_exhaustive()
    }
}
