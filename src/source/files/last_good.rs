//! The last good version of each manifest, saved on disk: if a manifest is broken when the agent starts, the pod from
//! its last good version keeps running. A cache: losing it costs that pod, and only in that case.
//!
//! One file for each manifest, a `v1 List` of its pods and objects as they were written. Secrets may be among them: it
//! is readable by root alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::file;
use crate::disk::write::{self, Durability, Writing, remove_if_there};
use crate::manifest::Json;
use crate::manifest::ManifestContext;
use crate::manifest::{Content, read_with_content};

/// The file beside the last good versions that lists which manifests wait for what another one has.
const WAITING: &str = "waiting.json";
/// Likewise, since when there are the objects of each manifest.
const AGES: &str = "ages.json";

/// Since when there is each object of a file, by the file's path in readable form.
pub(super) type Ages = BTreeMap<String, BTreeMap<String, Timestamp>>;

/// The directory that has the last good versions.
#[derive(Debug, Clone)]
pub(super) struct LastGood {
    directory: PathBuf,
}

/// A change to the saved state.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// Saves these objects for the file.
    Keep(PathBuf, Vec<Json>),
    /// The file was removed.
    Forget(PathBuf),
    /// Only these files exist.
    Only(Vec<PathBuf>),
    /// Since when there are the objects of all files.
    Ages(Ages),
    /// These files wait for what another one has, in this order.
    Waiting(Vec<(PathBuf, String)>),
}

impl LastGood {
    /// Saves to this directory, which is created on first use.
    pub(super) fn new(directory: PathBuf) -> LastGood {
        LastGood { directory }
    }

    /// The content of the last good version of a file; empty where none is saved or it can no longer be read.
    pub(super) fn load(&self, path: &Path, context: &ManifestContext, now: Timestamp) -> Content {
        match file::open(&self.file(path)).and_then(file::Opened::bytes) {
            Ok(bytes) => read_with_content(&bytes, path, context, now),
            Err(_) => Content::default(),
        }
    }

    /// Applies the changes.
    pub(super) fn apply(&self, changes: &[Change]) -> io::Result<()> {
        for change in changes {
            match change {
                Change::Keep(path, objects) => self.keep(path, objects)?,
                Change::Forget(path) => remove_if_there(&self.file(path))?,
                Change::Only(paths) => self.forget_others(paths)?,
                Change::Ages(ages) => {
                    self.write(&self.directory.join(AGES), &serde_json::to_string(ages)?)?
                }
                Change::Waiting(waiting) => self.save_waiting(waiting)?,
            }
        }
        Ok(())
    }

    fn keep(&self, path: &Path, objects: &[Json]) -> io::Result<()> {
        let list = format!(
            r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#,
            objects.iter().map(|json| &*json.0).collect::<Vec<_>>().join(",")
        );
        self.write(&self.file(path), &list)
    }

    /// Which files waited for what another one had, in order: the path, in readable form, and what it waited for.
    pub(super) fn waiting(&self) -> Vec<(String, String)> {
        let bytes = file::open(&self.directory.join(WAITING)).and_then(file::Opened::bytes);
        // If it is lost or damaged, the running pods and the saved versions decide.
        serde_json::from_slice(&bytes.unwrap_or_default()).unwrap_or_default()
    }

    /// Since when there are the objects of each file. If it is lost or damaged, an object is as old as its file.
    pub(super) fn ages(&self) -> Ages {
        let bytes = file::open(&self.directory.join(AGES)).and_then(file::Opened::bytes);
        serde_json::from_slice(&bytes.unwrap_or_default()).unwrap_or_default()
    }

    fn save_waiting(&self, waiting: &[(PathBuf, String)]) -> io::Result<()> {
        let file = self.directory.join(WAITING);
        if waiting.is_empty() {
            return remove_if_there(&file);
        }
        let readable: Vec<_> = waiting
            .iter()
            .map(|(path, what)| (path.to_string_lossy(), what))
            .collect();
        self.write(&file, &serde_json::to_string(&readable)?)
    }

    fn write(&self, file: &Path, text: &str) -> io::Result<()> {
        if fs::read(file).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        write::write(file, text.as_bytes(), Writing::private(Durability::Crash))
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
            if ![WAITING, AGES].iter().any(|name| entry.file_name() == *name)
                && !own.contains(&entry.file_name())
            {
                remove_if_there(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The saved copy of a manifest, named by a hash of its path: a path may be longer than a file name.
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
