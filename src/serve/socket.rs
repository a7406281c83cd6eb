//! The root-only socket: one agent at a time, and only root gets responses.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use axum::serve::Listener;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

/// Why the socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum SocketError {
    #[error("another gantry is running (pid {pid}) and holds {}", path.display())]
    Busy { pid: String, path: PathBuf },
    #[error("cannot create the socket's directory {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot take the socket's lock {}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("cannot create the socket {}", path.display())]
    Bind { path: PathBuf, source: io::Error },
}

/// The bound, listening socket: removed when this is dropped.
#[derive(Debug)]
pub struct Bound {
    listener: UnixListener,
    guard: Guard,
}

/// Holds the lock, and removes the socket when dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    path: PathBuf,
    /// The kernel releases the lock however the process ends, so it never goes stale as the socket file does.
    _lock: Flock<File>,
}

/// Listens on `path` with mode 0600, in a directory that is created with mode 0700 if it is missing. A file left over
/// from a killed agent is replaced; a running agent is an error that names its pid.
pub fn bind(path: &Path) -> Result<Bound, SocketError> {
    if let Some(dir) = path.parent() {
        make_private_dir(dir).map_err(|source| SocketError::Directory {
            path: dir.to_owned(),
            source,
        })?;
    }
    let lock = lock(path)?;
    let bind_error = |source| SocketError::Bind {
        path: path.to_owned(),
        source,
    };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(bind_error(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(bind_error)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(bind_error)?;
    let guard = Guard {
        path: path.to_owned(),
        _lock: lock,
    };
    Ok(Bound { listener, guard })
}

/// Creates a directory and its parents, all of them closed to other users; existing ones are left as they are.
pub(crate) fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn lock(socket: &Path) -> Result<Flock<File>, SocketError> {
    let path = lock_path(socket);
    let lock_error = |source| SocketError::Lock {
        path: path.clone(),
        source,
    };
    loop {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let file = options.open(&path).map_err(lock_error)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                if !is_at(&lock, &path).map_err(lock_error)? {
                    // Its last holder removed it between opening and locking it here.
                    continue;
                }
                let written = lock
                    .set_len(0)
                    .and_then(|()| lock.rewind())
                    .and_then(|()| write!(*lock, "{}", std::process::id()));
                written.map_err(lock_error)?;
                return Ok(lock);
            }
            Err((file, Errno::EWOULDBLOCK)) => {
                let path = socket.to_owned();
                return Err(SocketError::Busy {
                    pid: holder(file),
                    path,
                });
            }
            Err((_, errno)) => return Err(lock_error(errno.into())),
        }
    }
}

fn lock_path(socket: &Path) -> PathBuf {
    socket.with_extension("lock")
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The pid that the holder of the lock wrote into it.
fn holder(file: File) -> String {
    let mut pid = String::new();
    // The other process may be about to write its pid, or the file may contain anything.
    let _ = file.take(20).read_to_string(&mut pid);
    match pid.parse::<u32>() {
        Ok(pid) => pid.to_string(),
        Err(_) => "unknown".to_owned(),
    }
}

impl Bound {
    pub(crate) fn into_listener(self) -> (RootOnly, Guard) {
        (RootOnly(self.listener), self.guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The next agent replaces a leftover file. The lock is held until after the removal, so only this agent's own
        // socket is removed.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(lock_path(&self.path));
    }
}

/// A listener that closes connections from any user but root. The modes of the socket and its directory already keep
/// other users out; this check also holds if the modes were loosened, or the connection was passed on.
pub(crate) struct RootOnly(UnixListener);

impl Listener for RootOnly {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.0).await;
            match stream.peer_cred() {
                Ok(peer) if may_ask(peer.uid()) => return (stream, address),
                Ok(peer) => tracing::warn!(
                    uid = peer.uid(),
                    pid = peer.pid(),
                    "rejected a client that is not root"
                ),
                Err(error) => tracing::warn!(%error, "rejected a client: cannot determine its user"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Root, and the agent's own user, which is root except in tests.
fn may_ask(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn socket_and_directory_are_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gantry/gantry.sock");
        let bound = bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        drop(bound);
        let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 0, "socket and lock go with the agent");
    }

    #[tokio::test]
    async fn a_second_agent_is_told_who_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gantry.sock");
        let _first = bind(&path).unwrap();
        let error = bind(&path).unwrap_err().to_string();
        let expected = format!("another gantry is running (pid {})", std::process::id());
        assert!(error.starts_with(&expected), "{error}");
    }

    #[tokio::test]
    async fn what_a_killed_agent_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gantry.sock");
        // A listener dropped without its guard leaves the file, as a kill does.
        drop(UnixListener::bind(&path).unwrap());
        fs::write(path.with_extension("lock"), "4194304").unwrap();
        assert!(path.exists());
        let _bound = bind(&path).unwrap();
        UnixStream::connect(&path).await.unwrap();
    }

    #[test]
    fn only_root_and_the_agents_own_user_are_answered() {
        assert!(may_ask(0));
        assert!(may_ask(geteuid().as_raw()));
        assert!(!may_ask(65534));
    }
}
