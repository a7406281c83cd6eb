//! The directory in which plugins show their sockets (`pkg/kubelet/pluginmanager/pluginwatcher`): lists it, and says when
//! it changes.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::registry::Inode;

/// The most sockets that are looked at, and the most levels of directories: whoever may write there is privileged, and may
/// still err.
const MOST: usize = 1024;
const LEVELS: usize = 8;

/// Makes a directory of plugins as the kubelet does, where there is none.
pub(super) fn ensure(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(directory)
}

/// The sockets in a directory and those below it. Names that begin with a dot are left out; a link counts for the socket
/// that it leads to, and for no directory.
pub(super) fn list(directory: &Path) -> io::Result<BTreeMap<PathBuf, Inode>> {
    let mut found = BTreeMap::new();
    let mut left = vec![(directory.to_owned(), 1)];
    while let Some((directory, level)) = left.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            // A directory below may be gone again, or be nobody's business.
            Err(_) if level > 1 => continue,
            Err(error) => return Err(error),
        };
        for entry in entries.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if level < LEVELS {
                    left.push((path, level + 1));
                }
                continue;
            }
            let Some(inode) = fs::metadata(&path).ok().as_ref().and_then(inode) else {
                continue;
            };
            found.insert(path, inode);
            if found.len() == MOST {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// What tells a socket from one that is made later in its place.
fn inode(metadata: &Metadata) -> Option<Inode> {
    metadata.file_type().is_socket().then(|| Inode {
        device: metadata.dev(),
        number: metadata.ino(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

/// The kernel's events for the directory.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    /// Told when something has appeared or disappeared.
    pub(super) changed: Arc<Notify>,
    /// The directory that is watched, by its device and number: another one may take its place.
    watched: Option<(u64, u64)>,
}

impl Watch {
    /// Watches nothing yet. If the kernel gives no watch, the directory is only listed now and then.
    pub(super) fn new() -> Watch {
        let changed = Arc::new(Notify::new());
        let waker = changed.clone();
        let handler = move |event: notify::Result<notify::Event>| {
            let matters = |kind| {
                matches!(
                    kind,
                    EventKind::Create(_)
                        | EventKind::Remove(_)
                        | EventKind::Modify(notify::event::ModifyKind::Name(_))
                        | EventKind::Other
                )
            };
            // An error may be a lost event.
            if event.map_or(true, |event| matters(event.kind)) {
                waker.notify_one();
            }
        };
        // A link may lead anywhere.
        let config = notify::Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(handler, config)
            .inspect_err(|error| tracing::warn!(%error, "the sockets of plugins are not watched, only listed now and then"))
            .ok();
        Watch {
            watcher,
            changed,
            watched: None,
        }
    }

    /// Watches the directory that is at this path now, with those below it. To be called before it is listed.
    pub(super) fn follow(&mut self, directory: &Path) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let now = fs::metadata(directory)
            .ok()
            .map(|found| (found.dev(), found.ino()));
        if self.watched == now {
            return;
        }
        // Of a directory that is gone there is nothing left to watch.
        let _gone = watcher.unwatch(directory);
        self.watched = now.filter(|_| watcher.watch(directory, RecursiveMode::Recursive).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_sockets_are_listed_in_every_directory_that_is_not_hidden() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for directory in ["below/deeper", ".hidden", "elsewhere"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        let sockets: Vec<UnixListener> = [
            "a.sock",
            "below/deeper/b.sock",
            ".dot.sock",
            ".hidden/c.sock",
            "elsewhere/d.sock",
        ]
        .map(|name| UnixListener::bind(at(name)).unwrap())
        .into();
        fs::write(at("file.sock"), "").unwrap();
        symlink(at("elsewhere/d.sock"), at("link.sock")).unwrap();
        symlink(at("elsewhere"), at("way")).unwrap();
        symlink(at("nothing"), at("broken")).unwrap();
        let found: Vec<PathBuf> = list(place.path()).unwrap().into_keys().collect();
        let want = ["a.sock", "below/deeper/b.sock", "elsewhere/d.sock", "link.sock"].map(at);
        assert_eq!(found, want);
        drop(sockets);
        assert!(list(&at("nothing")).is_err());
    }

    #[test]
    fn a_socket_that_is_made_again_is_another_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.sock");
        let first = UnixListener::bind(&path).unwrap();
        let before = list(place.path()).unwrap();
        assert_eq!(before, list(place.path()).unwrap());
        fs::remove_file(&path).unwrap();
        let second = UnixListener::bind(&path).unwrap();
        assert_ne!(before, list(place.path()).unwrap());
        drop((first, second));
    }

    #[test]
    fn the_directories_are_made_as_the_kubelet_makes_them() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("plugins");
        ensure(&directory).unwrap();
        ensure(&directory).unwrap();
        let mode = fs::metadata(&directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750);
    }
}
