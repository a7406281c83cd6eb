//! The data files of volumes, in the kubelet's places and format.

use std::fs;
use std::io;
use std::path::Path;

use crate::act::mount;
use crate::disk::json;
use crate::disk::write::{self, Writing};
use crate::model::csi_request::{DATA_FILE, LONGEST_DATA, VolumeData};

/// Writes the data file in a directory, atomically; creates the directory. A file that says so already stays, so that the
/// directory is as old as what is in it: that is since when the volume is mounted, for people who ask.
pub(super) fn save(dir: &Path, data: &VolumeData) -> io::Result<()> {
    let path = dir.join(DATA_FILE);
    if json::read(&path, LONGEST_DATA).is_ok_and(|found| found.as_ref() == Some(data)) {
        return Ok(());
    }
    let writing = Writing {
        directories: 0o750,
        ..Writing::within_umask()
    };
    write::write(&path, &serde_json::to_vec(data)?, writing)
}

/// Removes an empty directory, if it is there, and nothing is mounted on it. What is mounted is not touched: it may hang.
pub(in crate::act::volume) fn remove_mount_dir(dir: &Path) -> io::Result<Left> {
    match mount::is_mount_point(dir) {
        Ok(true) => Ok(Left::Mounted),
        Ok(false) => remove_dir(dir).map(|()| Left::Nothing),
        Err(error) if is_absent(&error) => Ok(Left::Nothing),
        Err(error) => Err(error),
    }
}

/// Removes a directory that is empty; one that is not stays.
pub(in crate::act::volume) fn remove_if_empty(dir: &Path) -> io::Result<()> {
    match remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        result => result,
    }
}

/// What is left of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::act::volume) enum Left {
    Nothing,
    /// Something is mounted on it.
    Mounted,
}

impl Left {
    /// The error, where something is left.
    pub(in crate::act::volume) fn refused(self, dir: &Path) -> io::Result<()> {
        match self {
            Left::Nothing => Ok(()),
            Left::Mounted => Err(io::Error::other(format!(
                "something is still mounted at {}",
                dir.display()
            ))),
        }
    }
}

/// Removes an empty directory, if it is there.
pub(super) fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        Err(error) if is_absent(&error) => Ok(()),
        result => result,
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The names in a directory; none if it is not there.
pub(in crate::act::volume) fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}
