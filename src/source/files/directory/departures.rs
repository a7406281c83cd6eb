//! Files that are removed: which of them are gone, which come back, and which were renamed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::Directory;
use crate::source::files::ages::since_then;
use crate::source::files::file::{self, Identity};
use crate::source::files::known::Known;
use crate::source::files::last_good::Change;
use crate::source::files::listing::Entry;

impl Directory {
    /// Marks the files that were removed, even if another file has the name by now.
    pub(super) fn note_gone(&mut self, gone: &BTreeSet<PathBuf>) {
        for known in self.files.values_mut() {
            if known.paths.iter().any(|path| gone.contains(path)) {
                known.was_gone = true;
                known.again = true;
            }
        }
    }

    /// Recognizes a file that was renamed within the directory: it keeps its claims, though its pods are new ones, as
    /// under the kubelet, because the file's path is part of their UIDs. Returns which files are not read yet: within
    /// its grace period the former name may come back, and then that is the file, and this a copy.
    pub(super) fn follow_renames(
        &mut self,
        entries: &[Entry],
        grace: Duration,
        now: Timestamp,
    ) -> BTreeSet<PathBuf> {
        let there: BTreeSet<&Path> = entries.iter().map(|entry| entry.path.as_path()).collect();
        let left = self
            .files
            .iter()
            .filter(|(path, known)| !there.contains(path.as_path()) && !known.is_empty());
        let mut left: BTreeMap<Identity, (PathBuf, bool)> = left
            .filter_map(|(path, known)| {
                let passed = known
                    .gone_since
                    .is_some_and(|since| since_then(since, now) >= grace);
                Some((known.stamp?.identity(), (path.clone(), passed)))
            })
            .collect();
        let mut moving = BTreeSet::new();
        for entry in entries {
            if left.is_empty() {
                break;
            }
            let Ok(identity) = file::stamp(&entry.path).map(|stamp| stamp.identity()) else {
                continue;
            };
            // An entry that already provided something got new content, or is another name of the same file: it is not
            // a rename.
            if self.files.get(&entry.path).is_some_and(|known| !known.is_empty()) {
                continue;
            }
            match left.remove(&identity) {
                Some((from, true)) => self.rename(&from, &entry.path),
                Some((_, false)) => {
                    moving.insert(entry.path.clone());
                }
                None => {}
            }
        }
        moving
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        if let Some(known) = self.files.remove(from) {
            self.claims.rename(from, to);
            self.changes.push(Change::Forget(from.to_owned()));
            let known = Known {
                again: true,
                gone_since: None,
                ..known
            };
            self.files.insert(to.to_owned(), known);
        }
    }

    /// Drops the files that no longer exist.
    pub(super) fn forget_others(&mut self, entries: &[Entry], grace: Duration, now: Timestamp) {
        let there: BTreeSet<&Path> = entries.iter().map(|entry| entry.path.as_path()).collect();
        let gone: Vec<PathBuf> = self
            .files
            .keys()
            .filter(|path| !there.contains(path.as_path()))
            .cloned()
            .collect();
        for path in gone {
            self.gone(&path, grace, now);
        }
    }

    /// Once: a file that was removed while no agent ran must not come back with a broken file of the same name.
    pub(super) fn forget_kept_of_others(&mut self, entries: &[Entry]) {
        if self.kept.is_some() && !std::mem::replace(&mut self.listed_once, true) {
            let paths = entries.iter().map(|entry| entry.path.clone()).collect();
            self.changes.push(Change::Only(paths));
        }
    }

    /// A file is gone when its grace period has passed.
    pub(super) fn gone(&mut self, path: &Path, grace: Duration, now: Timestamp) {
        let Some(known) = self.files.get_mut(path) else {
            return;
        };
        let since = *known.gone_since.get_or_insert(now);
        let passed = since_then(since, now);
        if passed >= grace || known.is_empty() {
            self.files.remove(path);
            self.departures += 1;
            self.changes.push(Change::Forget(path.to_owned()));
        } else {
            known.again = true;
            self.look_again(grace - passed);
        }
    }
}
