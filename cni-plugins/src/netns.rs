//! Network namespaces. No early return can leave a thread in the wrong one (setns(2) changes the calling thread alone): one
//! is entered by a new thread, which ends afterwards ([`with`]), or, in a process that has only one, until a value is
//! dropped ([`visit`]).

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

/// The namespace of the calling thread.
pub fn current() -> Result<File, NetnsError> {
    let path = PathBuf::from("/proc/thread-self/ns/net");
    File::open(&path).map_err(|error| NetnsError::Open { path, error })
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
    let own = own().and_then(|own| own.metadata()).map_err(NetnsError::Enter)?;
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

/// Runs `work` inside `namespace`, on the calling thread: a new one costs a plugin more than most of what it does, on a
/// busy node several milliseconds. For programs that end with the call: should the kernel refuse the way back, the process
/// ends, as nothing may go on in the wrong namespace.
pub fn visit<T>(namespace: &File, work: impl FnOnce() -> T) -> Result<T, NetnsError> {
    let own = own().map_err(NetnsError::Enter)?;
    setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|error| NetnsError::Enter(error.into()))?;
    let _visit = Visit { own };
    Ok(work())
}

/// A stay in another namespace.
struct Visit {
    own: File,
}

impl Drop for Visit {
    fn drop(&mut self) {
        if setns(&self.own, CloneFlags::CLONE_NEWNET).is_err() {
            std::process::abort();
        }
    }
}

fn own() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

/// Opens a route socket inside `namespace`.
pub fn open_socket(namespace: &File) -> Result<PodNet, NetnsError> {
    Ok(PodNet(visit(namespace, Socket::route)??))
}
