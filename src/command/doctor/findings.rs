//! What was found on the machine, for the checks to judge.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::node::Init;
use crate::model::node::{CgroupDriver, CgroupVersion, FsUsage};

/// Everything the checks read. Nothing in it is judged yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    /// The user this runs as.
    pub uid: u32,
    /// `uname -r`
    pub kernel: String,
    /// The hierarchy of cgroups; `None` where nothing is mounted.
    pub cgroups: Option<CgroupVersion>,
    /// Controllers that this program needs and the hierarchy does not offer.
    pub missing_controllers: Vec<String>,
    /// The first process.
    pub init: Init,
    /// Swap in use: device or file names.
    pub swaps: Vec<String>,
    /// `net.ipv4.ip_forward`
    pub ip_forward: bool,
    /// `net.bridge.bridge-nf-call-iptables`; `None` where br_netfilter is not loaded.
    pub bridge_iptables: Option<bool>,
    /// What the container runtime answered.
    pub runtime: RuntimeAnswer,
    /// Whether an agent of ours answers on its socket.
    pub agent_runs: bool,
    /// Addresses we want to listen on that someone else has.
    pub taken: Vec<SocketAddr>,
    /// Process ids of kubelets that run.
    pub kubelets: Vec<u32>,
    /// The file systems that thresholds speak of.
    pub disks: Vec<Disk>,
    /// How the root directory's file system is mounted.
    pub root_mount: Mount,
    /// CNI configurations that are not ours, in the order in which the runtime reads them.
    pub other_cni: Vec<String>,
    /// Our CNI plugins that are not there.
    pub missing_plugins: Vec<String>,
    /// File systems and parts of the kernel that are not there.
    pub missing_kernel: Vec<&'static str>,
    /// `fs.inotify.max_user_instances`
    pub inotify_instances: Option<u64>,
    /// `fs.inotify.max_user_watches`
    pub inotify_watches: Option<u64>,
    /// What is known of the clock.
    pub clock: Clock,
}

/// What the container runtime answered.
#[derive(Debug, Clone, PartialEq)]
pub enum RuntimeAnswer {
    /// There is no socket.
    Absent,
    /// The socket does not answer, and why.
    Silent(String),
    /// Something answers there that does not speak CRI v1.
    NoCri,
    /// It answers.
    Answered(Runtime),
}

/// A container runtime that answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Runtime {
    /// `containerd`
    pub name: String,
    /// Its version, mostly with a `v` before it.
    pub version: String,
    /// The cgroup driver it tells (CRI `RuntimeConfig`).
    pub driver_told: Option<CgroupDriver>,
    /// The cgroup driver seen in its configuration.
    pub driver_seen: Option<CgroupDriver>,
    /// Where its images are.
    pub image_dir: Option<PathBuf>,
}

/// A file system that thresholds speak of.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// `nodefs` or `imagefs`.
    pub name: &'static str,
    /// A directory on it.
    pub path: PathBuf,
    /// Its room.
    pub usage: FsUsage,
}

/// How a file system is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mount {
    /// Nothing can be written.
    pub read_only: bool,
    /// Nothing on it can be run.
    pub no_exec: bool,
    /// Mounts in it are seen by other mount namespaces.
    pub shared: bool,
}

/// What is known of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// A time service says that it is right.
    Synchronised,
    /// No time service that we know runs or says so.
    Unknown,
    /// It is before the time at which this program was installed.
    Behind,
}
