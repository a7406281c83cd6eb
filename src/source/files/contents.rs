//! The files of the manifests directory as they are now, for those who change them. Nothing is watched or remembered.

use std::path::{Path, PathBuf};

use super::file::{self, Refused};
use super::listing::{self, State};
use super::watch::Watchlist;

/// A file, which may be a manifest.
#[derive(Debug)]
pub(in crate::source) struct FileContents {
    /// The configured directory and the name.
    pub(in crate::source) path: PathBuf,
    /// Whether the entry itself is a link.
    pub(in crate::source) is_link: bool,
    /// The bytes.
    pub(in crate::source) bytes: Vec<u8>,
}

/// Why there are no files.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source) enum Unlisted {
    /// The directory does not exist.
    Missing,
    /// It cannot be read.
    Unreadable(String),
}

/// Reads all files. One that is no manifest, or cannot be read, is left out: the agent reports it.
pub(in crate::source) fn contents(path: &Path) -> Result<Vec<FileContents>, Unlisted> {
    let (state, entries) = listing::list(path, &mut Watchlist::default());
    match state {
        State::There => {}
        State::Missing => return Err(Unlisted::Missing),
        State::Unreadable(why) => return Err(Unlisted::Unreadable(why)),
    }
    let mut files = Vec::new();
    for entry in entries {
        let Some(real) = &entry.real else { continue };
        match file::open(real).and_then(file::Opened::bytes) {
            Ok(bytes) => files.push(FileContents {
                path: entry.path,
                is_link: entry.is_link,
                bytes,
            }),
            Err(Refused::Gone | Refused::Unreadable(_)) => {}
        }
    }
    Ok(files)
}
