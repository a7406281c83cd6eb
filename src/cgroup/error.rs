//! What an operation on a cgroup can fail with.

use std::io;
use std::path::{Path, PathBuf};

/// Errors of cgroup operations.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The kernel lacks something that every pod needs.
    #[error(
        "cgroup controller {0:?} is not mounted; enable it on the kernel command line (cgroup_enable={0}) or in the \
         system's cgroup setup"
    )]
    MissingController(&'static str),
    /// A cgroup that others make does not exist. The kubelet's words (`pkg/kubelet/cm/cgroup_v1_manager_linux.go`).
    #[error("cgroup {cgroup:?} has some missing paths: {paths}")]
    MissingCgroup {
        /// Its place in the tree.
        cgroup: Vec<String>,
        /// The directories, separated by commas.
        paths: String,
    },
    /// A file or directory of the hierarchy.
    #[error("{action} {path}")]
    File {
        /// `writing "5" to`, `making`, …
        action: String,
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Processes outlive SIGKILL.
    #[error("processes {pids:?} in cgroup {name:?} are still alive {seconds} s after SIGKILL")]
    Survivors {
        /// The cgroup.
        name: String,
        /// Which processes.
        pids: Vec<i32>,
        /// How long the caller waited.
        seconds: u64,
    },
    /// systemd cannot be reached.
    #[error(
        "cannot reach systemd on the system message bus, which the systemd cgroup driver requires: install and \
         start dbus, or use the cgroupfs driver both here and in the container runtime"
    )]
    Bus(#[source] Box<zbus::Error>),
    /// systemd rejected the call, or the connection was lost.
    #[error("systemd failed to {action} {unit}")]
    Systemd {
        /// `start`, `stop`, …
        action: &'static str,
        /// The unit.
        unit: String,
        /// Why.
        source: Box<zbus::Error>,
    },
    /// systemd's job did not succeed.
    #[error("systemd job to {action} {unit} ended with result {result:?}")]
    Job {
        /// `start`, `stop`.
        action: &'static str,
        /// The unit.
        unit: String,
        /// `failed`, `timeout`, …
        result: String,
    },
}

impl CgroupError {
    pub(super) fn file(action: impl Into<String>, path: &Path, source: io::Error) -> CgroupError {
        CgroupError::File {
            action: action.into(),
            path: path.to_owned(),
            source,
        }
    }
}
