//! What the kernel tells of the manifests directory, and of all that leads to it.
//!
//! inotify itself and not the crate `notify`: that subscribes to every opening of every file of a watched directory,
//! and watching `/etc`, which the way to the manifests leads through, would wake the agent at every program that is
//! started. Nothing is read or decided here but which events matter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::unix::AsyncFd;

/// What of a directory matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Interest {
    /// Every name in it; else only `names`.
    pub(super) all: bool,
    /// The names that matter.
    pub(super) names: BTreeSet<OsString>,
    /// What is in the files, and not only which there are.
    pub(super) contents: bool,
}

/// The directories to watch, without links, and what of each matters.
pub(super) type Watchlist = BTreeMap<PathBuf, Interest>;

/// What happened to a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happened {
    /// A complete file came, or was moved within its directory, or was closed after writing; or the directory itself
    /// changed.
    Done(PathBuf),
    /// A file's mode, owner or times changed, which says nothing about who writes it: programs that copy set them
    /// before they close it.
    Attributes(PathBuf),
    /// A file went: it was deleted, or moved to another directory.
    Gone(PathBuf),
    /// A file was made, and whoever made it may still write into it.
    Made(PathBuf),
    /// A file is being written.
    Writing(PathBuf),
    /// Events were lost: anything may have happened.
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
    #[error("inotify does not work")]
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

/// What matters of a directory on the way: what it has, and whether it stays.
fn on_the_way() -> AddWatchFlags {
    AddWatchFlags::IN_ONLYDIR
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
}

/// What matters of a directory that has manifests.
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

    /// Watches these directories and no others. Whether one was not watched before: what happened there meanwhile
    /// has not been told.
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
            // The same directory has the same descriptor, another one of its name another.
            let descriptor = match inotify.add_watch(path, mask) {
                Ok(descriptor) => descriptor,
                // It went away since it was found, which those above it tell; or is not ours to watch.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let known = self.watched.get(&descriptor);
            // A file that is read now and was not before is news too.
            added |= known.is_none_or(|(_, old)| interest.contents && !old.contents);
            watched.insert(descriptor, (path.clone(), interest.clone()));
        }
        for descriptor in self.watched.keys().filter(|d| !watched.contains_key(d)) {
            // A directory that is gone has taken its watch along.
            let _gone = inotify.rm_watch(*descriptor);
        }
        self.watched = watched;
        Ok(added)
    }

    /// Waits until something happened that matters. Nothing is lost when the wait is given up.
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

    /// What has happened already that matters.
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
        // Editors that keep a copy move the file to another name beside it, and write a new one: it did not go.
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

/// What an event about the directory itself means: its times change with every name in it, which says nothing.
fn self_meaning(directory: &Path, mask: AddWatchFlags) -> Option<Happened> {
    let gone = AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_UNMOUNT
        | AddWatchFlags::IN_IGNORED;
    mask.intersects(gone)
        .then(|| Happened::Done(directory.to_owned()))
}

/// Whether a name is no manifest's: hidden, or what editors leave while they write.
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
