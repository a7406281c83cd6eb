//! The facts about the machine that the checks judge.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::node::Init;
use crate::model::measured::FsUsage;
use crate::model::node::{CgroupDriver, CgroupVersion};

/// Everything that the checks read, without any judgment.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    /// The user this runs as.
    pub uid: u32,
    /// `uname -r`
    pub kernel: String,
    /// The cgroup hierarchy; `None` if none is mounted.
    pub cgroups: Option<CgroupVersion>,
    /// Required controllers that the hierarchy lacks.
    pub missing_controllers: Vec<String>,
    /// The first process.
    pub init: Init,
    /// Swap in use: device or file names.
    pub swaps: Vec<String>,
    /// `net.ipv4.ip_forward`
    pub ip_forward: bool,
    /// `net.bridge.bridge-nf-call-iptables`; `None` if br_netfilter is not loaded.
    pub bridge_iptables: Option<bool>,
    /// The container runtime's answer.
    pub runtime: RuntimeAnswer,
    /// Whether a gantry agent answers on its socket.
    pub agent_runs: bool,
    /// Addresses to listen on that are already in use.
    pub taken: Vec<SocketAddr>,
    /// Process ids of running kubelets.
    pub kubelets: Vec<u32>,
    /// The file systems that eviction thresholds refer to.
    pub disks: Vec<Disk>,
    /// How the root directory's file system is mounted.
    pub root_mount: Mount,
    /// CNI configurations that are not gantry's, in the order in which the runtime reads them.
    pub other_cni: Vec<String>,
    /// gantry's CNI plugins that are missing.
    pub missing_plugins: Vec<String>,
    /// Whether the `bridge` that is there is another vendor's.
    pub foreign_bridge: bool,
    /// Missing file systems and kernel features.
    pub missing_kernel: Vec<&'static str>,
    /// `fs.inotify.max_user_instances`
    pub inotify_instances: Option<u64>,
    /// `fs.inotify.max_user_watches`
    pub inotify_watches: Option<u64>,
    /// The state of the clock.
    pub clock: Clock,
}

/// The container runtime's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum RuntimeAnswer {
    /// The socket does not exist.
    Absent,
    /// The socket does not answer, and why.
    Silent(String),
    /// The program behind the socket does not serve CRI v1.
    NoCri,
    /// It answers.
    Answered(Runtime),
}

/// A container runtime that answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Runtime {
    /// `containerd`
    pub name: String,
    /// Its version, usually prefixed with `v`.
    pub version: String,
    /// The cgroup driver that it reports (CRI `RuntimeConfig`).
    pub driver_reported: Option<CgroupDriver>,
    /// The cgroup driver in its configuration.
    pub driver_configured: Option<CgroupDriver>,
    /// Where its images are.
    pub image_dir: Option<PathBuf>,
}

/// A file system that eviction thresholds refer to.
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
    /// Mounts in it propagate to other mount namespaces.
    pub shared: bool,
}

/// The state of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// A time service reports that the clock is synchronised.
    Synchronised,
    /// No known time service runs or reports that.
    Unknown,
    /// It is earlier than the installation time of this program.
    Behind,
}
