//! The current manifests directory: which files exist, which changed, and the resulting set of pods.
//!
//! Looks and decides, once for each call; when to look is the business of [`super::static_pods`]. What cannot be read,
//! and what is being written at the moment, leaves things as they are: only a file that is gone takes its pods along.

mod departures;
mod stating;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::ages::{CLOCK_TICK, DIRECTORY_GRACE, FILE_GRACE, age, since_then, unnamed_wait};
use super::claims::{self, Claims, Verdict};
use super::file::{self, Refused};
use super::former::Former;
use super::known::whole_file;
use super::known::{Known, Open, Reading};
use super::last_good::{Ages, Change, LastGood};
use super::listing::{self, Entry, State};
use super::set;
use super::watch::Watchlist;
use super::writing::{LeaseUse, REPORTED_AFTER, Readiness, readiness, recheck_after};
use crate::manifest::ManifestContext;
use crate::manifest::{Content, read_with_content};
use crate::model::pod::{PodUid, SourceSet};

/// Which files to read again although they look as before.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    /// All of them.
    pub(super) everything: bool,
    /// Of these paths, without links, those that were closed after the last change, or moved into place.
    pub(super) complete: BTreeSet<PathBuf>,
    /// The other changed files among these paths, which may still be incomplete.
    pub(super) touched: BTreeSet<PathBuf>,
    /// Of these paths, those that were removed, though a new file may have the name by now.
    pub(super) gone: BTreeSet<PathBuf>,
    /// Of these paths, those that are being written: they stay as they are.
    pub(super) held: BTreeSet<PathBuf>,
}

/// The result of a look.
#[derive(Debug)]
pub(super) struct Seen {
    /// The complete set; `None` where it cannot be decided yet.
    pub(super) set: Option<SourceSet>,
    /// The set needs to know first which pods run.
    pub(super) undecided: bool,
    /// What to watch from now on.
    pub(super) watchlist: Watchlist,
    /// When to look again even without an event.
    pub(super) again: Option<Duration>,
    /// What to save.
    pub(super) changes: Vec<Change>,
    /// The files that were read, their paths without links.
    pub(super) read: Vec<PathBuf>,
    /// Whether the directory is there.
    pub(super) state: State,
}

/// The directory and the state of its files.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    path: PathBuf,
    context: ManifestContext,
    kept: Option<LastGood>,
    lease_use: LeaseUse,
    files: BTreeMap<PathBuf, Known>,
    /// How many files were removed.
    departures: u64,
    /// Which file provides what several have.
    claims: Claims,
    /// Whether that was decided once.
    settled: bool,
    /// Since when there are the objects of each file, as last saved; `None`: not read yet.
    ages: Option<Ages>,
    /// The waiting files as last saved.
    waiting: Option<Vec<(PathBuf, String)>>,
    read_once: bool,
    listed_once: bool,
    again: Option<Duration>,
    changes: Vec<Change>,
    read: Vec<PathBuf>,
}

impl Directory {
    /// Starts with no known files.
    pub(super) fn new(
        path: PathBuf,
        context: ManifestContext,
        kept: Option<LastGood>,
        lease_use: LeaseUse,
    ) -> Directory {
        Directory {
            path,
            context,
            kept,
            lease_use,
            files: BTreeMap::new(),
            departures: 0,
            claims: Claims::default(),
            settled: false,
            ages: None,
            waiting: None,
            read_once: false,
            listed_once: false,
            again: None,
            changes: Vec::new(),
            read: Vec::new(),
        }
    }

    /// Whether the first decision between competing files was made. Until then [`Directory::look`] may need to know
    /// which pods run.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Looks at the directory and reads what changed. `running` are the UIDs of the runtime's pods, where they are
    /// known.
    pub(super) fn look(&mut self, look: &Look, running: Option<&BTreeSet<PodUid>>, now: Timestamp) -> Seen {
        self.again = None;
        self.load_ages();
        let mut watchlist = Watchlist::new();
        self.note_gone(&look.gone);
        let (state, entries) = listing::list(&self.path, &mut watchlist);
        if state == State::There || state == State::Missing {
            let grace = if state == State::There {
                FILE_GRACE
            } else {
                DIRECTORY_GRACE
            };
            let moving = self.follow_renames(&entries, grace, now);
            for entry in entries.iter().filter(|entry| !moving.contains(&entry.path)) {
                self.entry(entry, look, now);
            }
            self.forget_others(&entries, grace, now);
            if state == State::There {
                self.forget_kept_of_others(&entries);
                self.save_ages();
            }
            self.read_once = true;
        }
        let set = match self.read_once {
            true => self.set(&state, running, now),
            false => None,
        };
        let undecided = self.read_once && set.is_none();
        Seen {
            set,
            undecided,
            watchlist,
            again: self.again,
            // The saved state from before the start is needed until everything is decided.
            changes: match undecided {
                true => Vec::new(),
                false => std::mem::take(&mut self.changes),
            },
            read: std::mem::take(&mut self.read),
            state,
        }
    }

    /// Updates the state of one file.
    fn entry(&mut self, entry: &Entry, look: &Look, now: Timestamp) {
        let real = entry.real.as_ref().unwrap_or(&entry.path);
        if look.held.contains(real) {
            // A close, or a quiet time, triggers the next look.
            self.open(entry, false, now);
            return;
        }
        let is_complete = look.complete.contains(real);
        let again = look.everything || is_complete || look.touched.contains(real);
        let known = self.files.get(&entry.path);
        let known = known.filter(|known| !known.again).and_then(|known| known.stamp);
        let stamp = match file::stamp(&entry.path) {
            Ok(stamp) => stamp,
            Err(refused) => return self.refused(entry, refused, now),
        };
        if !again && known == Some(stamp) {
            return self.unchanged(&entry.path);
        }
        if let Some(wait) = unnamed_wait(&entry.path, &stamp, now).filter(|_| known.is_none()) {
            self.unread(entry, now);
            return self.look_again(wait);
        }
        let opened = match file::open(&entry.path) {
            Ok(opened) => opened,
            Err(refused) => return self.refused(entry, refused, now),
        };
        let stamp = opened.stamp;
        match readiness(opened.writers(self.lease_use), is_complete, age(&stamp, now)) {
            Readiness::Ready => {}
            // A writer may open it from now on, but the content that was read is complete.
            Readiness::Open | Readiness::Unquiet(_) if known == Some(stamp) => {
                return self.unchanged(&entry.path);
            }
            Readiness::Open => {
                let wait = self.open(entry, is_complete, now);
                return self.look_again(wait);
            }
            Readiness::Unquiet(wait) => {
                self.unread(entry, now);
                return self.look_again(wait);
            }
        }
        self.read.push(real.clone());
        match opened.bytes() {
            Err(refused) => self.refused(entry, refused, now),
            Ok(bytes) => {
                let content = self.parse(&bytes, &entry.path, now);
                let reading = Reading::of(&bytes, stamp.modified().min(now));
                self.take(entry, content, &reading, now);
                let fresh = age(&stamp, now) < CLOCK_TICK;
                if fresh {
                    self.look_again(CLOCK_TICK);
                }
                let known = self.files.entry(entry.path.clone()).or_default();
                known.stamp = Some(stamp);
                known.again = fresh;
            }
        }
    }

    fn unchanged(&mut self, path: &Path) {
        if let Some(known) = self.files.get_mut(path) {
            known.gone_since = None;
            known.open = None;
        }
    }

    /// A file that is not read yet stays as it was: at the agent's start, as its last good version.
    fn unread(&mut self, entry: &Entry, now: Timestamp) -> &mut Known {
        if !self.files.contains_key(&entry.path) {
            let known = Known {
                paths: paths(entry),
                ..self.kept(&entry.path, now)
            };
            self.files.insert(entry.path.clone(), known);
        }
        let known = self.files.entry(entry.path.clone()).or_default();
        known.again = true;
        known.gone_since = None;
        known
    }

    /// A file that is open for writing is not read; after a while this is reported. Returns when to check again.
    fn open(&mut self, entry: &Entry, is_complete: bool, now: Timestamp) -> Duration {
        let known = self.unread(entry, now);
        let before = known.open;
        let since = before.map_or(now, |open| open.since);
        let heard = before.filter(|_| !is_complete).map_or(now, |open| open.heard);
        let open_for = since_then(since, now);
        known.open = Some(Open {
            since,
            heard,
            is_long: open_for >= REPORTED_AFTER,
        });
        recheck_after(open_for, since_then(heard, now))
    }

    fn parse(&self, bytes: &[u8], path: &Path, now: Timestamp) -> Content {
        let context = &self.context;
        // The YAML parser and the Kubernetes types come from other projects too: a panic on some manifest must not end
        // the agent, nor again at every start.
        let read = std::panic::catch_unwind(|| read_with_content(bytes, path, context, now));
        read.unwrap_or_else(|_panic| {
            let message = "cannot be read because of a bug in gantry: report it with the file".to_owned();
            Content {
                problems: vec![whole_file(path, message)],
                ..Content::default()
            }
        })
    }

    /// An existing file that cannot be read keeps its pods and gets a problem.
    fn refused(&mut self, entry: &Entry, refused: Refused, now: Timestamp) {
        let message = match refused {
            // It was removed after the directory was listed.
            Refused::Gone if !entry.is_link => return self.gone(&entry.path, FILE_GRACE, now),
            Refused::Gone => "is a dangling symbolic link: point it to a file".to_owned(),
            Refused::Unreadable(message) => message,
        };
        let problem = whole_file(&entry.path, message);
        if let Some(known) = self.files.get_mut(&entry.path)
            && known.problems == [problem.clone()]
        {
            known.gone_since = None;
            known.open = None;
            return;
        }
        let content = Content {
            problems: vec![problem],
            ..Content::default()
        };
        self.take(entry, content, &Reading::nothing(now), now);
    }

    /// Takes over the new content of a file.
    fn take(&mut self, entry: &Entry, content: Content, reading: &Reading<'_>, now: Timestamp) {
        let path = entry.path.as_path();
        let before = match self.files.remove(path) {
            // The file that had this name was removed, and nothing carries over to this one.
            Some(known) if known.was_gone => {
                self.departures += 1;
                self.forget_ages(path);
                self.unknown()
            }
            Some(known) => known,
            // Only a broken file needs the state from before the agent started.
            None if content.problems.is_empty() => self.unknown(),
            None => self.kept(path, now),
        };
        let stated = before.stated.clone();
        let mut known = Known {
            paths: paths(entry),
            ..before.after(path, content)
        };
        known.stated = self.state(path, &stated, &known, reading);
        if self.kept.is_some() {
            self.changes.push(Change::Keep(path.to_owned(), known.to_save()));
        }
        self.files.insert(path.to_owned(), known);
    }

    /// The state of a new file.
    fn unknown(&self) -> Known {
        Known {
            incarnation: self.departures,
            ..Known::default()
        }
    }

    fn look_again(&mut self, wait: Duration) {
        self.again = Some(self.again.map_or(wait, |again| again.min(wait)));
    }

    /// All pods and objects. `None`: at the start two files claim the same name, and the running pods are not known
    /// yet.
    fn set(
        &mut self,
        state: &State,
        running: Option<&BTreeSet<PodUid>>,
        now: Timestamp,
    ) -> Option<SourceSet> {
        let claims = set::claims(&self.files);
        let contested = match self.settled {
            true => BTreeSet::new(),
            false => claims::contested(&claims),
        };
        let former = match (contested.is_empty(), running) {
            (true, _) => Former::default(),
            (false, None) => return None,
            (false, Some(running)) => {
                Former::read(&contested, running, self.kept.as_ref(), &self.context, now)
            }
        };
        // A directory that appears later, with a mount, is treated as at a start of the agent.
        self.settled |= *state == State::There;
        let verdicts = self.claims.settle(&claims, |claim| former.seniority(claim));
        let set = set::assemble(&self.files, &claims, &verdicts);
        let is_quiet = verdicts.iter().all(|verdict| *verdict == Verdict::Granted);
        let waiting = match is_quiet {
            true => Vec::new(),
            false => self.claims.waiting(),
        };
        if self.settled && self.kept.is_some() && self.waiting.as_ref() != Some(&waiting) {
            self.changes.push(Change::Waiting(waiting.clone()));
            self.waiting = Some(waiting);
        }
        Some(set)
    }
}

/// The paths under which the kernel reports events of a file.
fn paths(entry: &Entry) -> [PathBuf; 2] {
    [entry.found.clone(), entry.real.clone().unwrap_or_default()]
}

#[cfg(test)]
mod tests;
