//! Small files of the kernel, read into one buffer.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use jiff::Timestamp;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, fstat};

/// Nearly no file is longer: only the processes of a cgroup, or the interfaces of a machine, may be many.
const USUAL_LENGTH: usize = 64 * 1024;

/// A longer one is not read.
const MAX_LENGTH: usize = 4 * 1024 * 1024;

/// What is read at once and is shorter is the whole rest: the kernel fills the buffer with whole records, and none of a
/// list is longer than half a page (`seq_read_iter` of `fs/seq_file.c`). A second call would cost as much as the first.
const WHOLE: usize = 2048;

/// How files are opened.
const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_CLOEXEC);

/// The directory of a cgroup. Its files are opened by its descriptor: a removed cgroup has none, even if one of the same
/// path follows.
#[derive(Debug)]
pub(super) struct Directory(OwnedFd);

impl Directory {
    /// `None` if it does not exist.
    pub(super) fn open(path: &Path) -> Option<Directory> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open(path, flags, Mode::empty()).ok().map(Directory)
    }

    /// When it was created, as far as the kernel remembers, and its number.
    pub(super) fn identity(&self) -> Option<(Timestamp, u64)> {
        let metadata = fstat(&self.0).ok()?;
        let nanoseconds = i32::try_from(metadata.st_mtime_nsec).ok()?;
        Some((
            Timestamp::new(metadata.st_mtime, nanoseconds).ok()?,
            metadata.st_ino,
        ))
    }
}

/// The buffer.
#[derive(Default)]
pub(super) struct Files {
    bytes: Vec<u8>,
}

impl Files {
    /// The content; `None` if the kernel has no such file, the cgroup is gone, or it is longer than 4 MiB.
    pub(super) fn read(&mut self, directory: &Directory, name: &CStr) -> Option<&str> {
        let file = openat(&directory.0, name, READ, Mode::empty()).ok()?;
        self.content(File::from(file))
    }

    /// The same of a file that is no cgroup's.
    pub(super) fn read_at(&mut self, path: &Path) -> Option<&str> {
        let file = open(path, READ, Mode::empty()).ok()?;
        self.content(File::from(file))
    }

    fn content(&mut self, mut file: File) -> Option<&str> {
        let mut length = 0;
        loop {
            if self.bytes.len() - length < WHOLE {
                self.grow()?;
            }
            let more = file.read(self.bytes.get_mut(length..)?).ok()?;
            length += more;
            if more < WHOLE {
                break;
            }
        }
        std::str::from_utf8(self.bytes.get(..length)?).ok()
    }

    fn grow(&mut self) -> Option<()> {
        let length = self.bytes.len().saturating_mul(2).max(USUAL_LENGTH);
        (length <= MAX_LENGTH).then(|| self.bytes.resize(length, 0))
    }

    /// The number that is the whole content. A limit that says `max` is none.
    pub(super) fn number(&mut self, directory: &Directory, name: &CStr) -> Option<u64> {
        self.read(directory, name)?.trim_end().parse().ok()
    }
}
