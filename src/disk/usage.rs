//! How much a directory takes of its disk, counted like du(1): blocks, not lengths, and a file with several names once.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::Instant;

use nix::sys::stat::{FileStat, SFlag};

use super::beneath;
use super::walk::{self, Moment};

/// How deep a tree may be: each level takes two descriptors.
const MAX_DEPTH: usize = 128;
/// How many files with several names are remembered.
const MAX_LINKED: usize = 100_000;
/// The clock is read once for so many entries.
const ENTRIES_PER_LOOK: u32 = 64;
/// `st_blocks` counts these bytes.
const BLOCK: u64 = 512;

/// What it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Files, directories and links.
    pub inodes: u64,
}

/// Counts the directory and what is below it. Other file systems that are mounted below are not entered, and not even
/// asked: their servers may be gone. Who writes to the directory chooses how long it takes: after `deadline` the error is
/// `TimedOut`, and a tree of more than 128 levels is an error, too.
pub fn measure(directory: &Path, deadline: Instant) -> io::Result<Usage> {
    let mut count = Count {
        usage: Usage::default(),
        linked: HashSet::new(),
        deadline,
        entries: 0,
    };
    walk::walk(beneath::root(directory)?, MAX_DEPTH, |moment, _, stat| {
        if moment == Moment::Found {
            count.keep_to_deadline()?;
            count.add(stat);
        }
        Ok(())
    })?;
    Ok(count.usage)
}

struct Count {
    usage: Usage,
    /// Files with several names that were counted.
    linked: HashSet<(u64, u64)>,
    deadline: Instant,
    entries: u32,
}

impl Count {
    fn add(&mut self, stat: &FileStat) {
        let is_linked = stat.st_nlink > 1 && walk::kind(stat) != SFlag::S_IFDIR;
        if is_linked && self.linked.len() < MAX_LINKED && !self.linked.insert((stat.st_dev, stat.st_ino)) {
            return;
        }
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        self.usage.bytes = self.usage.bytes.saturating_add(blocks.saturating_mul(BLOCK));
        self.usage.inodes += 1;
    }

    fn keep_to_deadline(&mut self) -> io::Result<()> {
        self.entries = self.entries.wrapping_add(1);
        match self.entries.is_multiple_of(ENTRIES_PER_LOOK) && Instant::now() >= self.deadline {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_tree_is_counted_with_each_file_once_and_no_link_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("big"), vec![1; 1 << 20]).unwrap();
        let root = tempfile::tempdir().unwrap();
        let empty = measure(root.path(), soon()).unwrap();
        assert_eq!(empty.inodes, 1);
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("a/b/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(root.path().join("a/b/file"), root.path().join("a/again")).unwrap();
        symlink(outside.path().join("big"), root.path().join("link")).unwrap();
        symlink(outside.path(), root.path().join("a/dir")).unwrap();
        symlink("/none", root.path().join("dangling")).unwrap();
        let full = measure(root.path(), soon()).unwrap();
        assert_eq!(full.inodes, 7);
        let more = full.bytes - empty.bytes;
        assert!((100_000..200_000).contains(&more), "{more}");
    }

    #[test]
    fn what_takes_too_long_or_is_too_deep_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..2 * ENTRIES_PER_LOOK {
            fs::write(root.path().join(number.to_string()), "").unwrap();
        }
        let late = measure(root.path(), Instant::now()).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let deep = tempfile::tempdir().unwrap();
        let mut at = deep.path().to_owned();
        (0..MAX_DEPTH - 1).for_each(|_| at.push("d"));
        fs::create_dir_all(&at).unwrap();
        assert_eq!(measure(deep.path(), soon()).unwrap().inodes, MAX_DEPTH as u64);
        fs::create_dir(at.join("d")).unwrap();
        let error = measure(deep.path(), soon()).unwrap_err().to_string();
        assert_eq!(error, "the tree has more than 128 levels");
        assert_eq!(
            measure(Path::new("/none"), soon()).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn what_is_mounted_below_is_not_counted() {
        if !crate::disk::tests::in_own_mounts("disk::usage::tests::what_is_mounted_below_is_not_counted") {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("below");
        fs::create_dir(&below).unwrap();
        nix::mount::mount(
            Some("tmpfs"),
            &below,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            None::<&str>,
        )
        .unwrap();
        fs::write(below.join("file"), vec![1; 100_000]).unwrap();
        let counted = measure(root.path(), soon());
        nix::mount::umount(&below).unwrap();
        assert_eq!(counted.unwrap().inodes, 1);
    }
}
