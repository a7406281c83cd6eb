//! Network namespaces. A namespace is entered only by a new thread, which ends afterwards, so that no early return can
//! leave a thread in the wrong one (setns(2) changes the calling thread alone).

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{FsType, fstatfs};

use crate::netlink::socket::{NetlinkError, PodNet, Socket};

/// linux/magic.h: the file system of namespace files.
const NSFS_MAGIC: FsType = FsType(0x6e73_6673);

/// Why a namespace could not be used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The path does not exist, or is not a namespace (any more).
    #[error("{path} is not a network namespace: {reason}")]
    Gone {
        /// The path that was given.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// It exists, but cannot be opened.
    #[error("cannot open the network namespace {path}: {error}")]
    Open {
        /// The path that was given.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It is the plugin's own namespace: every change would affect the host.
    #[error("{path} is the host's own network namespace; use the pod's")]
    Own {
        /// The path that was given.
        path: PathBuf,
    },
    /// The thread could not enter it.
    #[error("cannot enter the network namespace: {0}")]
    Enter(io::Error),
    /// The socket could not be opened there.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Opens the namespace at `path` and checks that it is one, and not the plugin's own.
pub fn open(path: &Path) -> Result<File, NetnsError> {
    let gone = |reason: String| NetnsError::Gone {
        path: path.to_path_buf(),
        reason,
    };
    let file = File::open(path).map_err(|error| gone(error.to_string()))?;
    let kind = fstatfs(&file)
        .map_err(|error| gone(error.desc().to_string()))?
        .filesystem_type();
    if kind != NSFS_MAGIC {
        return Err(gone(
            "it is a different kind of file (is the pod's sandbox gone?)".to_string(),
        ));
    }
    let own = File::open("/proc/thread-self/ns/net")
        .and_then(|own| own.metadata())
        .map_err(NetnsError::Enter)?;
    let other = file.metadata().map_err(NetnsError::Enter)?;
    if (own.dev(), own.ino()) == (other.dev(), other.ino()) {
        return Err(NetnsError::Own {
            path: path.to_path_buf(),
        });
    }
    Ok(file)
}

/// Runs `work` on a new thread inside `namespace`.
pub fn with<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|error| NetnsError::Enter(error.into()))?;
            Ok(work())
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Opens a route socket inside `namespace`.
pub fn open_socket(namespace: &File) -> Result<PodNet, NetnsError> {
    Ok(PodNet(with(namespace, Socket::route)??))
}
