//! The directory of checkpoints, and which are being made.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use nix::sys::statvfs::statvfs;

use super::bounds::{self, IN_ALL, Kept, Refused, Subject};
use crate::serve::socket::make_private_dir;

/// The directory of checkpoints. Clones share what is under way.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    directory: PathBuf,
    under_way: Arc<Mutex<BTreeSet<Subject>>>,
}

/// Why a checkpoint is not begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotBegun {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("cannot use the directory {}: {source}", directory.display())]
    Directory { directory: PathBuf, source: io::Error },
}

/// A checkpoint that is being made; it is under way until this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    store: Checkpoints,
    subject: Subject,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.store.under_way().remove(&self.subject);
    }
}

impl Checkpoints {
    /// Checkpoints in that directory, which is created when it is needed.
    pub fn new(directory: PathBuf) -> Checkpoints {
        Checkpoints {
            directory,
            under_way: Arc::default(),
        }
    }

    /// Begins a checkpoint if there is room, and returns where it is to be written. It reads the disk.
    pub(super) fn begin(&self, subject: Subject, now: Timestamp) -> Result<(PathBuf, UnderWay), NotBegun> {
        {
            let mut under_way = self.under_way();
            let others: Vec<Subject> = under_way.iter().cloned().collect();
            bounds::begin(&subject, &others)?;
            under_way.insert(subject.clone());
        }
        let place = UnderWay {
            store: self.clone(),
            subject: subject.clone(),
        };
        let kept = self.kept().map_err(|source| NotBegun::Directory {
            directory: self.directory.clone(),
            source,
        })?;
        bounds::room(&subject, &kept, &self.directory)?;
        let file = subject.file(now);
        if kept.files.contains(&file) {
            return Err(Refused::Same.into());
        }
        Ok((self.directory.join(file), place))
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeSet<Subject>> {
        self.under_way.lock().expect("no holder of this lock can panic")
    }

    fn kept(&self) -> io::Result<Kept> {
        // An archive contains what is in a container's memory.
        make_private_dir(&self.directory)?;
        let disk = statvfs(&self.directory)?;
        let mut kept = Kept {
            disk: disk.blocks() * disk.fragment_size(),
            ..Kept::default()
        };
        // More are not looked at: there is no room already.
        for entry in fs::read_dir(&self.directory)?.take(IN_ALL) {
            let entry = entry?;
            kept.bytes += bytes(&entry.path())?;
            kept.files.push(entry.file_name().to_string_lossy().into_owned());
        }
        Ok(kept)
    }
}

/// What a file takes on the disk; nothing if it was removed meanwhile.
fn bytes(path: &Path) -> io::Result<u64> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.blocks() * 512),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_checkpoint_is_under_way_until_it_is_dropped_and_its_file_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Checkpoints::new(dir.path().join("a/checkpoints"));
        let web = || Subject::new("ns", "web", "c");
        let now = Timestamp::now();
        let (path, first) = store.begin(web(), now).unwrap();
        let mode = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let refused = |result: Result<_, NotBegun>| match result.unwrap_err() {
            NotBegun::Refused(refused) => refused,
            other => panic!("{other}"),
        };
        assert_eq!(refused(store.begin(web(), now)), Refused::Same);
        drop(first);
        fs::write(&path, "archive").unwrap();
        // Its file has the name of this second.
        assert_eq!(refused(store.begin(web(), now)), Refused::Same);
        let later = now + jiff::SignedDuration::from_secs(1);
        drop(store.begin(web(), later).unwrap());
        assert_eq!(store.kept().unwrap().files.len(), 1);
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_an_error_and_leaves_nothing_under_way() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let store = Checkpoints::new(dir.path().join("file"));
        for _ in 0..5 {
            let begun = store.begin(Subject::new("ns", "web", "c"), Timestamp::now());
            assert!(matches!(begun, Err(NotBegun::Directory { .. })), "{begun:?}");
        }
    }
}
