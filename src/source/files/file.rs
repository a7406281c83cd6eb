//! One file of the manifests directory: whether it changed, and its bytes. A file cannot make the agent block, grow
//! without bound, or follow a link that it should not: only regular files are opened, and only small ones are read.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use jiff::Timestamp;
use nix::fcntl::OFlag;

use super::writing::{self, LeaseUse, Writers};
use crate::manifest::{MOST_BYTES, too_large};

/// The properties that change when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What stays when a file gets another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The identity of a file across renames. It includes the times because the inode number of a deleted file is soon
    /// reused.
    pub(super) fn identity(&self) -> Identity {
        Identity {
            inode: (self.device, self.inode),
            size: self.size,
            modified: self.modified,
        }
    }

    /// When its content was last modified.
    pub(super) fn modified(&self) -> Timestamp {
        let (seconds, _) = self.modified;
        // A file system may have any number there.
        Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// When the file last changed, in nanoseconds since 1970.
    pub(super) fn changed_nanos(&self) -> i128 {
        i128::from(self.changed.0) * 1_000_000_000 + i128::from(self.changed.1)
    }
}

/// Why the file was not read.
#[derive(Debug)]
pub(super) enum Refused {
    /// It was removed.
    Gone,
    /// It cannot be a manifest, or cannot be read: the message to report.
    Unreadable(String),
}

/// The stamp of the path's target, where that is a regular file.
pub(super) fn stamp(path: &Path) -> Result<Stamp, Refused> {
    regular(&path.metadata().map_err(refused)?)
}

/// A file that is open for reading.
#[derive(Debug)]
pub(super) struct Opened {
    file: File,
    /// The stamp when it was opened.
    pub(super) stamp: Stamp,
}

/// Opens the file.
pub(super) fn open(path: &Path) -> Result<Opened, Refused> {
    // Checked before it is opened, because opening a device may have effects; and again afterwards, because it may have
    // been replaced in between. A FIFO that replaces it is opened without waiting.
    stamp(path)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path)
        .map_err(refused)?;
    let stamp = regular(&file.metadata().map_err(refused)?)?;
    Ok(Opened { file, stamp })
}

impl Opened {
    /// The processes that have it open for writing, where the file system may be asked. While there are none, no
    /// process gets write access before the bytes are read ([`writing::writers`]).
    pub(super) fn writers(&self, lease_use: LeaseUse) -> Writers {
        match lease_use {
            LeaseUse::Yes => writing::writers(&self.file),
            LeaseUse::No => Writers::Unknown,
        }
    }

    /// Its bytes.
    pub(super) fn bytes(self) -> Result<Vec<u8>, Refused> {
        let size = usize::try_from(self.stamp.size).unwrap_or(usize::MAX);
        if size > MOST_BYTES {
            return Err(Refused::Unreadable(too_large(self.stamp.size)));
        }
        read_all(&self.file, size).map_err(refused)
    }
}

fn read_all(file: &File, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(size + 1);
    // A file that grows meanwhile is read to just beyond the limit, and rejected by its length.
    let limit = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX) + 1;
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn regular(metadata: &Metadata) -> Result<Stamp, Refused> {
    let kind = metadata.file_type();
    let what = if kind.is_file() {
        return Ok(Stamp::of(metadata));
    } else if kind.is_dir() {
        "a directory; subdirectories are not searched for manifests"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(Refused::Unreadable(format!(
        "is not a regular file but {what}: remove it from the manifests directory"
    )))
}

fn refused(error: io::Error) -> Refused {
    if error.kind() == io::ErrorKind::NotFound {
        return Refused::Gone;
    }
    if error.raw_os_error() == Some(nix::libc::ELOOP) {
        return Refused::Unreadable("is a symbolic link loop: point it to a file".into());
    }
    Refused::Unreadable(format!("cannot be read: {error}"))
}
