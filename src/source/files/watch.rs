//! The kernel's events for the manifests directory and everything on the path to it.
//!
//! It uses inotify directly instead of the crate `notify`: that subscribes to every opening of every file in a watched
//! directory, and `/etc`, which is on the path to the manifests, would wake the agent at the start of nearly every
//! program. This module reads no file and only decides which events matter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::unix::AsyncFd;

/// Which events of a directory matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Interest {
    /// Every name in it; else only `names`.
    pub(super) all: bool,
    /// The names that matter.
    pub(super) names: BTreeSet<OsString>,
    /// The content of the files, too, not only their names.
    pub(super) contents: bool,
}

/// The directories to watch, without links, and which events of each matter.
pub(super) type Watchlist = BTreeMap<PathBuf, Interest>;

/// An event of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happened {
    /// A complete file appeared, was moved within its directory, or was closed after writing; or the directory itself
    /// changed.
    Done(PathBuf),
    /// A file's mode, owner or times changed, which does not mean that it is complete: copying programs set them before
    /// they close the file.
    Attributes(PathBuf),
    /// A file was deleted, or moved to another directory.
    Gone(PathBuf),
    /// A file was created, and its creator may still write to it.
    Made(PathBuf),
    /// A file is being written.
    Writing(PathBuf),
    /// Events were lost: any change is possible.
    Lost,
}

/// Why watching is not possible.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// The kernel's limit for watches or instances is reached (`fs.inotify.max_user_watches`,
    /// `fs.inotify.max_user_instances`).
    #[error("the kernel's limit for inotify is reached")]
    Limit,
    /// Anything else.
    #[error("inotify is not available")]
    Io(#[source] io::Error),
}

impl From<Errno> for WatchError {
    fn from(errno: Errno) -> WatchError {
        match errno {
            Errno::ENOSPC | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => WatchError::Limit,
            other => WatchError::Io(other.into()),
        }
    }
}

struct Handle(Inotify);

impl AsRawFd for Handle {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Watches directories.
pub(super) struct Watcher {
    handle: AsyncFd<Handle>,
    watched: HashMap<WatchDescriptor, (PathBuf, Interest)>,
}

/// The events of a directory on the path: its entries, and its removal.
fn on_the_way() -> AddWatchFlags {
    AddWatchFlags::IN_ONLYDIR
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
}

/// The events of a directory with manifests.
fn contents() -> AddWatchFlags {
    on_the_way() | AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_ATTRIB
}

impl Watcher {
    /// Watches nothing yet.
    pub(super) fn new() -> Result<Watcher, WatchError> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        // An exception to the rule: tokio takes a descriptor in no other way.
        #[allow(unsafe_code)]
        // SAFETY: `Handle` owns its descriptor, which is the same and open until it is dropped.
        let handle = unsafe { AsyncFd::register(Handle(inotify)) };
        let handle = handle.map_err(|error| WatchError::Io(error.into()))?;
        Ok(Watcher {
            handle,
            watched: HashMap::new(),
        })
    }

    /// Watches these directories and no others. Returns whether one was not watched before: its earlier changes were
    /// not reported.
    pub(super) fn watch(&mut self, wanted: &Watchlist) -> Result<bool, WatchError> {
        let inotify = &self.handle.get_ref().0;
        let mut watched: HashMap<WatchDescriptor, (PathBuf, Interest)> = HashMap::new();
        let mut added = false;
        for (path, interest) in wanted {
            let mask = if interest.contents {
                contents()
            } else {
                on_the_way()
            };
            // One directory always has the same descriptor; a new directory of its name has another.
            let descriptor = match inotify.add_watch(path, mask) {
                Ok(descriptor) => descriptor,
                // It was removed since it was found, which the directories above report; or this process may not watch
                // it.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let known = self.watched.get(&descriptor);
            // A file that becomes relevant counts as new, too.
            added |= known.is_none_or(|(_, old)| interest.contents && !old.contents);
            watched.insert(descriptor, (path.clone(), interest.clone()));
        }
        for descriptor in self.watched.keys().filter(|d| !watched.contains_key(d)) {
            // The kernel removes the watch of a removed directory.
            let _gone = inotify.rm_watch(*descriptor);
        }
        self.watched = watched;
        Ok(added)
    }

    /// Waits until a relevant event happens. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Vec<Happened>, WatchError> {
        loop {
            let mut ready = self.handle.readable().await.map_err(WatchError::Io)?;
            let events =
                match ready.try_io(|handle| handle.get_ref().0.read_events().map_err(io::Error::from)) {
                    Ok(Ok(events)) => events,
                    Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Ok(Err(error)) => return Err(WatchError::Io(error)),
                    Err(_not_ready) => continue,
                };
            let happened = self.meanings(&events);
            if !happened.is_empty() {
                return Ok(happened);
            }
        }
    }

    /// The relevant events that have already happened.
    pub(super) fn pending(&self) -> Result<Vec<Happened>, WatchError> {
        let mut happened = Vec::new();
        loop {
            match self.handle.get_ref().0.read_events() {
                Ok(events) => happened.extend(self.meanings(&events)),
                Err(Errno::EAGAIN) => return Ok(happened),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(WatchError::Io(errno.into())),
            }
        }
    }

    fn meanings(&self, events: &[InotifyEvent]) -> Vec<Happened> {
        // Editors that make a backup rename the file and write a new one: it was not removed.
        let stays = |event: &InotifyEvent| {
            let mut arrivals = events
                .iter()
                .filter(|other| other.mask.contains(AddWatchFlags::IN_MOVED_TO));
            arrivals.any(|other| other.cookie == event.cookie && other.wd == event.wd)
        };
        let meaning = |event: &InotifyEvent| {
            let left = event.mask.contains(AddWatchFlags::IN_DELETE)
                || (event.mask.contains(AddWatchFlags::IN_MOVED_FROM) && !stays(event));
            match self.meaning(event)? {
                Happened::Done(path) if left && event.name.is_some() => Some(Happened::Gone(path)),
                other => Some(other),
            }
        };
        events.iter().filter_map(meaning).collect()
    }

    fn meaning(&self, event: &InotifyEvent) -> Option<Happened> {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return Some(Happened::Lost);
        }
        let (directory, interest) = self.watched.get(&event.wd)?;
        let Some(name) = &event.name else {
            return self_meaning(directory, event.mask);
        };
        let matters = (interest.all && !is_ignored(name)) || interest.names.contains(name);
        if !matters {
            return None;
        }
        let path = directory.join(name);
        if event.mask.contains(AddWatchFlags::IN_MODIFY) {
            Some(Happened::Writing(path))
        } else if event.mask.contains(AddWatchFlags::IN_ATTRIB) {
            Some(Happened::Attributes(path))
        } else if event.mask.contains(AddWatchFlags::IN_CREATE)
            && !event.mask.contains(AddWatchFlags::IN_ISDIR)
        {
            Some(Happened::Made(path))
        } else {
            Some(Happened::Done(path))
        }
    }
}

/// The meaning of an event about the directory itself. Its times change with every entry, so those events are ignored.
fn self_meaning(directory: &Path, mask: AddWatchFlags) -> Option<Happened> {
    let gone = AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_UNMOUNT
        | AddWatchFlags::IN_IGNORED;
    mask.intersects(gone)
        .then(|| Happened::Done(directory.to_owned()))
}

/// Whether a name cannot be a manifest's: it is hidden, or an editor's temporary file.
pub(super) fn is_ignored(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b".")
        || name.ends_with(b"~")
        || name.ends_with(b".swp")
        || name.ends_with(b".swx")
        || (name.starts_with(b"#") && name.ends_with(b"#"))
        || name == b"4913"
        || name == b"lost+found"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_editors_leave_is_no_manifest() {
        for name in [
            ".web.yaml.swp",
            ".#web.yaml",
            "web.yaml~",
            "#web.yaml#",
            "4913",
            "web.yaml.swp",
            "lost+found",
        ] {
            assert!(is_ignored(OsStr::new(name)), "{name}");
        }
        for name in ["web.yaml", "web", "a#", "web.json", "web.yaml.bak"] {
            assert!(!is_ignored(OsStr::new(name)), "{name}");
        }
    }
}
