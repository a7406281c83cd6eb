//! What was measured of the node and its pods at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::node::MachineFacts;
use super::pod::{PodName, PodUid};
use super::usage::Usage;

/// The node and its pods.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSample {
    /// What does not change.
    pub facts: Arc<NodeFacts>,
    /// The whole machine.
    pub machine: CgroupSample,
    /// Its network interfaces, without loopback and the ends of pods' links.
    pub interfaces: Vec<Interface>,
    /// The cgroups of the node's own programs, and that of all pods.
    pub system: Vec<(SystemPart, CgroupSample)>,
    /// The cgroups above the pods' own: that of all pods, and those of the QoS classes.
    pub levels: Vec<CgroupSample>,
    /// The pods that run, in the order of their names.
    pub pods: Vec<PodSample>,
    /// The disks with a mounted file system; empty if they were not asked for.
    pub disks: Vec<DiskSample>,
    /// The names of block devices, by their numbers; empty if they were not asked for.
    pub device_names: BTreeMap<(u32, u32), String>,
}

/// What does not change while the machine runs.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFacts {
    /// When the machine booted.
    pub booted: Timestamp,
    /// What it is.
    pub machine: MachineFacts,
    /// How its processors are built.
    pub topology: Topology,
    /// The image of sandboxes.
    pub sandbox_image: String,
}

/// How the machine's processors are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Topology {
    /// Cores, each of which may run several threads.
    pub physical_cores: u64,
    /// Sockets.
    pub sockets: u64,
    /// Books, on mainframes.
    pub books: u64,
    /// Drawers, on mainframes.
    pub drawers: u64,
}

/// A disk with a mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSample {
    /// `/dev/vda`
    pub device: String,
    /// Its file system.
    pub filesystem: FilesystemUsage,
    /// What the kernel has counted since the machine booted.
    pub counters: DiskCounters,
}

/// The counters of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskCounters {
    /// Read operations.
    pub reads: u64,
    /// Read operations that were merged with others.
    pub reads_merged: u64,
    /// Sectors of 512 bytes read.
    pub sectors_read: u64,
    /// Milliseconds that reads took.
    pub read_millis: u64,
    /// Write operations.
    pub writes: u64,
    /// Write operations that were merged with others.
    pub writes_merged: u64,
    /// Sectors of 512 bytes written.
    pub sectors_written: u64,
    /// Milliseconds that writes took.
    pub write_millis: u64,
    /// Operations under way.
    pub in_progress: u64,
    /// Milliseconds with an operation under way.
    pub io_millis: u64,
    /// The same, times the operations that were under way.
    pub weighted_io_millis: u64,
}

/// A part of the machine that is measured by itself (`SystemContainers` of the kubelet's summary).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SystemPart {
    /// This agent.
    Kubelet,
    /// The container runtime.
    Runtime,
    /// All pods.
    Pods,
}

/// A pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodSample {
    /// Its name.
    pub name: PodName,
    /// Its UID.
    pub uid: PodUid,
    /// When its sandbox was created.
    pub created: Timestamp,
    /// The pod's own cgroup; absent while it has none.
    pub cgroup: Option<CgroupSample>,
    /// The sandbox.
    pub sandbox: ContainerSample,
    /// The interfaces in the pod's network namespace, which are the machine's with the host's network; absent when they
    /// cannot be read.
    pub interfaces: Option<Vec<Interface>>,
    /// Its running containers.
    pub containers: Vec<ContainerSample>,
}

/// A container, or the container of a sandbox, whose name is empty.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSample {
    /// The runtime's ID.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// The reference that its image is listed under.
    pub image: String,
    /// When it was created.
    pub created: Timestamp,
    /// Absent if its cgroup is gone, or not where the runtime puts it.
    pub cgroup: Option<CgroupSample>,
}

/// A cgroup.
#[derive(Debug, Clone, PartialEq)]
pub struct CgroupSample {
    /// Its path below the mount point, beginning with `/`.
    pub path: Arc<str>,
    /// When it was read.
    pub at: Timestamp,
    /// When it was created, as far as the kernel remembers.
    pub created: Timestamp,
    /// Its number: another cgroup of the same path has another one.
    pub number: u64,
    /// What the kernel has counted.
    pub usage: Usage,
    /// The CPU time used in a second since the sample before, in nanoseconds; absent in a first sample.
    pub nano_cores: Option<u64>,
    /// Its processes, without those of the cgroups below it.
    pub processes: ProcessUsage,
}

/// The processes of a cgroup, and what they hold open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessUsage {
    /// How many there are.
    pub count: u64,
    /// Their open files; absent if there are too many to count, or they were not asked for.
    pub descriptors: Option<u64>,
    /// Of them sockets.
    pub sockets: Option<u64>,
    /// How many files the first one may open; absent without a limit, or if it was not asked for.
    pub descriptor_limit: Option<u64>,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// `eth0`
    pub name: String,
    /// What it received.
    pub received: Traffic,
    /// What it sent.
    pub sent: Traffic,
}

/// One direction of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Errors.
    pub errors: u64,
    /// Packets that were dropped.
    pub dropped: u64,
}

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilesystemUsage {
    /// When it was read.
    pub at: Timestamp,
    /// Bytes in all.
    pub capacity: u64,
    /// Bytes that programs of users may still write.
    pub available: u64,
    /// Bytes in use.
    pub used: u64,
    /// Inodes in all; 0 where the file system makes them as needed.
    pub inodes: u64,
    /// Free inodes.
    pub inodes_free: u64,
}

/// What a directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectoryUsage {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// What pods and the node keep on disks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Storage {
    /// The file system of the node's own directory.
    pub node: Option<FilesystemUsage>,
    /// That of the images, and what they and the containers' own files take of it.
    pub images: Option<ImageStorage>,
    /// When processes were counted, how many there are, and how many there may be.
    pub processes: Option<(Timestamp, i64, i64)>,
    /// By pod.
    pub pods: BTreeMap<PodUid, PodStorage>,
}

/// Images and containers' files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageStorage {
    /// Their file system.
    pub filesystem: FilesystemUsage,
    /// What they take.
    pub own: DirectoryUsage,
}

/// What a pod keeps on disks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PodStorage {
    /// What containers wrote into their root file systems, by the runtime's ID.
    pub layers: BTreeMap<String, DirectoryUsage>,
    /// The logs, by the container's name.
    pub logs: BTreeMap<String, DirectoryUsage>,
    /// The volumes, in the order of the pod's specification.
    pub volumes: Vec<VolumeUsage>,
    /// `/etc/hosts` and other files that the node keeps for the pod.
    pub own_files: DirectoryUsage,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Its name in the pod.
    pub name: String,
    /// Whether it lies on the node's own disk and counts as the pod's ephemeral storage.
    pub is_ephemeral: bool,
    /// What it holds.
    pub used: DirectoryUsage,
    /// Whether it was walked through, or cannot be. If not, a project quota says it, to which others can charge their files.
    pub is_counted: bool,
    /// The file system that it lies on.
    pub filesystem: FilesystemUsage,
}

impl PodStorage {
    /// What the pod takes of the node's disk: root file systems, logs, and volumes that lie there
    /// (`makePodStorageStats` in `pkg/kubelet/stats`).
    pub fn ephemeral(&self) -> DirectoryUsage {
        let volumes = self.volumes.iter().filter(|volume| volume.is_ephemeral);
        let volumes = volumes.map(|volume| &volume.used);
        let all = self.layers.values().chain(self.logs.values()).chain(volumes);
        all.chain([&self.own_files])
            .fold(DirectoryUsage::default(), |sum, one| DirectoryUsage {
                bytes: sum.bytes.saturating_add(one.bytes),
                inodes: sum.inodes.saturating_add(one.inodes),
            })
    }
}

/// What the volumes hold that are mounted for pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountedUsages(pub BTreeMap<PodUid, Vec<MountedUsage>>);

/// What mounts a volume for a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MountedPlugin {
    /// The node: a `local` PersistentVolume.
    Local,
    /// The node: a directory of an NFS server.
    Nfs,
    /// The node: a disk of an iSCSI target.
    Iscsi,
    /// The node: a disk of a Fibre Channel target.
    Fc,
    /// A storage driver.
    Csi,
    /// The same, as a device.
    CsiDevice,
}

/// A volume that is mounted for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedUsage {
    /// What mounts it.
    pub plugin: MountedPlugin,
    /// The name of its directory: the PersistentVolume's, or that of the pod's own volume.
    pub name: String,
    /// What it holds.
    pub numbers: VolumeNumbers,
}

/// What a volume holds, as its driver or its file system says; what that does not say is 0, as in the kubelet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeNumbers {
    /// When it was asked.
    pub at: Timestamp,
    /// Bytes in all.
    pub capacity: u64,
    /// Bytes that may still be written.
    pub available: u64,
    /// Bytes in use.
    pub used: u64,
    /// Inodes in all.
    pub inodes: u64,
    /// Free inodes.
    pub inodes_free: u64,
    /// Inodes in use.
    pub inodes_used: u64,
    /// Whether it is well; `None`: nobody says.
    pub health: Option<VolumeHealth>,
}

/// Whether a volume is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeHealth {
    /// It is.
    Normal,
    /// It is not.
    Abnormal,
}
