//! Small files of the kernel, read into one buffer.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

/// No file of a cgroup is longer: the longest, `memory.numa_stat`, is not read here.
const MAX_LENGTH: usize = 64 * 1024;

/// The directory of a cgroup. Its files are opened by its descriptor: a removed cgroup has none, even if one of the same
/// path follows.
pub(super) struct Directory(OwnedFd);

impl Directory {
    /// `None` if it does not exist.
    pub(super) fn open(path: &Path) -> Option<Directory> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open(path, flags, Mode::empty()).ok().map(Directory)
    }
}

/// The buffer.
#[derive(Default)]
pub(super) struct Files {
    bytes: Vec<u8>,
}

impl Files {
    /// The content; `None` if the kernel has no such file or the cgroup is gone.
    pub(super) fn read(&mut self, directory: &Directory, name: &CStr) -> Option<&str> {
        let file = openat(
            &directory.0,
            name,
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .ok()?;
        let mut file = File::from(file);
        self.bytes.resize(MAX_LENGTH, 0);
        let mut length = 0;
        loop {
            match file.read(self.bytes.get_mut(length..)?).ok()? {
                0 => break,
                more => length += more,
            }
        }
        std::str::from_utf8(self.bytes.get(..length)?).ok()
    }

    /// The number that is the whole content. A limit that says `max` is none.
    pub(super) fn number(&mut self, directory: &Directory, name: &CStr) -> Option<u64> {
        self.read(directory, name)?.trim_end().parse().ok()
    }
}
