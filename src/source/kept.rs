//! The last good version of each manifest, kept on disk: when a file is broken while the agent starts, the pod that
//! runs from its last good version stays. A cache: losing it costs that pod, and only then.
//!
//! One file for each manifest, a `v1 List` of its pods and objects as they were written. Secrets may be among them: it
//! is readable by root alone.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::file;
use super::manifest::{Content, Json, ManifestContext, read_with_content};

/// The directory that has the last good versions.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    directory: PathBuf,
}

/// Something to write down, or to forget.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// These objects are the file's.
    Keep(PathBuf, Vec<Json>),
    /// The file is gone.
    Forget(PathBuf),
    /// No other files than these are there.
    Only(Vec<PathBuf>),
}

impl Kept {
    /// In this directory, which is made when something is kept.
    pub(super) fn new(directory: PathBuf) -> Kept {
        Kept { directory }
    }

    /// What the last good version of a file has; nothing where none is kept, or it cannot be read any more.
    pub(super) fn load(&self, path: &Path, context: &ManifestContext, now: Timestamp) -> Content {
        match file::read(&self.file(path)) {
            Ok((bytes, _)) => read_with_content(&bytes, path, context, now),
            Err(_) => Content::default(),
        }
    }

    /// Does what changed.
    pub(super) fn apply(&self, changes: &[Change]) -> io::Result<()> {
        for change in changes {
            match change {
                Change::Keep(path, objects) => self.keep(path, objects)?,
                Change::Forget(path) => remove(&self.file(path))?,
                Change::Only(paths) => self.forget_others(paths)?,
            }
        }
        Ok(())
    }

    fn keep(&self, path: &Path, objects: &[Json]) -> io::Result<()> {
        let list = format!(
            r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#,
            objects.iter().map(|json| &*json.0).collect::<Vec<_>>().join(",")
        );
        let file = self.file(path);
        if fs::read(&file).is_ok_and(|old| old == list.as_bytes()) {
            return Ok(());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        let temporary = file.with_extension("new");
        remove(&temporary)?;
        // Renamed into place, so that a crash leaves the old version or the new one.
        let mut new = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        new.write_all(list.as_bytes())?;
        fs::rename(&temporary, &file)
    }

    fn forget_others(&self, paths: &[PathBuf]) -> io::Result<()> {
        let own: BTreeSet<OsString> = paths
            .iter()
            .filter_map(|path| Some(self.file(path).file_name()?.to_owned()))
            .collect();
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if !own.contains(&entry.file_name()) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The kept file of a manifest, by a hash of its path: a path may be longer than a name.
    fn file(&self, path: &Path) -> PathBuf {
        let hash = path
            .as_os_str()
            .as_bytes()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        self.directory.join(format!("{hash:016x}.json"))
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
