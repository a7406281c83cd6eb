//! The entries of the manifests directory, and what has to be watched to follow them.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::trail::{self, End};
use super::watch::{Interest, Watchlist, is_ignored};

/// Whether the directory is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It exists, or is a single file.
    There,
    /// It does not exist: there are no manifests.
    Missing,
    /// It exists but cannot be read: its pods stay.
    Unreadable(String),
}

/// An entry of the directory.
#[derive(Debug)]
pub(super) struct Entry {
    /// The path to report: the configured directory and the name.
    pub(super) path: PathBuf,
    /// The path of the entry in the directory without links: the kernel reports events under it.
    pub(super) found: PathBuf,
    /// The path without links, where the file is; `None` where it cannot be found.
    pub(super) real: Option<PathBuf>,
    /// Whether the entry itself is a link.
    pub(super) is_link: bool,
}

/// The entries that may be manifests, in the order of their names.
pub(super) fn list(path: &Path, watchlist: &mut Watchlist) -> (State, Vec<Entry>) {
    let trail = trail::follow(path);
    watch_lookups(watchlist, &trail.lookups);
    let real = match trail.end {
        End::At(real) => real,
        End::Missing => return (State::Missing, Vec::new()),
        End::Circle => {
            let message = "it is a symbolic link loop".to_owned();
            return (State::Unreadable(message), Vec::new());
        }
        End::Denied(error) => return (State::Unreadable(error.to_string()), Vec::new()),
    };
    if !real.is_dir() {
        watch_contents(watchlist, &trail.lookups);
        let entry = Entry {
            path: path.to_owned(),
            found: real.clone(),
            real: Some(real),
            is_link: false,
        };
        return (State::There, vec![entry]);
    }
    let interest = watchlist.entry(real.clone()).or_default();
    interest.all = true;
    interest.contents = true;
    match inside(path, &real, watchlist) {
        Ok(entries) => (State::There, entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (State::Missing, Vec::new()),
        Err(error) => (State::Unreadable(error.to_string()), Vec::new()),
    }
}

fn inside(path: &Path, real: &Path, watchlist: &mut Watchlist) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for found in std::fs::read_dir(real)? {
        let found = found?;
        let name = found.file_name();
        if is_ignored(&name) {
            continue;
        }
        let is_link = found.file_type().is_ok_and(|kind| kind.is_symlink());
        let found_at = real.join(&name);
        let real = if is_link {
            let trail = trail::follow(&found_at);
            watch_lookups(watchlist, &trail.lookups);
            match trail.end {
                End::At(target) => {
                    watch_contents(watchlist, &trail.lookups);
                    Some(target)
                }
                _ => None,
            }
        } else {
            Some(found_at.clone())
        };
        entries.push(Entry {
            path: path.join(name),
            found: found_at,
            real,
            is_link,
        });
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn watch_lookups(watchlist: &mut Watchlist, lookups: &[(PathBuf, OsString)]) {
    for (directory, name) in lookups {
        let interest: &mut Interest = watchlist.entry(directory.clone()).or_default();
        interest.names.insert(name.clone());
    }
}

/// The last of the lookups found a file whose content matters.
fn watch_contents(watchlist: &mut Watchlist, lookups: &[(PathBuf, OsString)]) {
    if let Some((directory, _)) = lookups.last() {
        watchlist.entry(directory.clone()).or_default().contents = true;
    }
}
