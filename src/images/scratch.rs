//! Temporary copies of archives, which leave the disk room for everything else.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::fstatvfs;

/// How many bytes are written between two looks at the free space.
const LOOK_EVERY: u64 = 64 << 20;
/// The part of the file system that stays free: what pods and the runtime write needs it, and the runtime stores the
/// images of an archive besides.
const LEAST_FREE: u64 = 20;

/// A temporary file, removed when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes a temporary file.
#[derive(Debug)]
pub(super) struct ScratchWriter {
    file: File,
    unlooked: u64,
}

/// Makes a temporary file in `directory`, which is made too. An image's content is its owner's secret, so other users can
/// read neither.
pub(super) fn create(directory: &Path, name: &str) -> io::Result<(Scratch, ScratchWriter)> {
    let mut missing = DirBuilder::new();
    missing.recursive(true).mode(0o700).create(directory)?;
    let path = directory.join(name);
    // The leftover of a killed process with the same number.
    let _ = std::fs::remove_file(&path);
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&path)?;
    let writer = ScratchWriter { file, unlooked: 0 };
    Ok((Scratch(path), writer))
}

impl ScratchWriter {
    /// Fails unless the file system has room for so many more bytes.
    pub(super) fn require(&self, more: u64) -> io::Result<()> {
        let disk = fstatvfs(&self.file)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.fragment_size());
        match leaves_room(bytes(disk.blocks_available()), bytes(disk.blocks()), more) {
            true => Ok(()),
            false => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "the disk of the state directory would be nearly full: free some space there, or remove images that no \
                 pod uses",
            )),
        }
    }
}

/// Whether a disk with so many bytes free keeps its share after so many more. Pure.
fn leaves_room(free: u64, all: u64, more: u64) -> bool {
    free.saturating_sub(more) >= all / LEAST_FREE
}

impl Write for ScratchWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.unlooked >= LOOK_EVERY {
            self.require(LOOK_EVERY)?;
            self.unlooked = 0;
        }
        let written = self.file.write(data)?;
        self.unlooked += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twentieth_of_the_disk_stays_free() {
        let check = |free, all, more, expected| {
            assert_eq!(
                leaves_room(free, all, more),
                expected,
                "{free} of {all}, {more} more"
            );
        };
        check(100, 1000, 0, true);
        check(100, 1000, 50, true);
        check(100, 1000, 51, false);
        check(49, 1000, 0, false);
        check(100, 1000, u64::MAX, false);
    }

    #[test]
    fn a_file_of_impossible_size_is_refused_and_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let (scratch, mut writer) = create(directory.path(), "x").unwrap();
        writer.write_all(b"content").unwrap();
        assert_eq!(std::fs::read(scratch.path()).unwrap(), b"content");
        let refused = writer.require(1 << 62).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        drop(scratch);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
