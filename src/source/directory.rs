//! The manifests directory as it is now: which files are there, which changed, and the set of pods that follows.
//!
//! Looks and decides, once for each call; when to look is the business of [`super::files`]. What cannot be read,
//! and what is being written at the moment, leaves things as they are: only a file that is gone takes its pods along.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::claims::{self, Claims, Verdict};
use super::file::{self, Identity, Refused, Stamp};
use super::former::Former;
use super::kept::{Change, Kept};
use super::known::Known;
use super::listing::{self, Entry, State};
use super::manifest::{Content, ManifestContext, read_with_content};
use super::set::{self, whole_file};
use super::watch::Watchlist;
use crate::model::pod::{PodUid, SourceSet};

/// A file that went away is gone when it has not come back after this: some editors rename the old one away before
/// they write the new one.
const FILE_GRACE: Duration = Duration::from_millis(50);
/// The same for the directory, which is swapped by hand at times.
const DIRECTORY_GRACE: Duration = Duration::from_secs(1);
/// A file without the extension of a manifest is one when nobody has touched it for this long: before that it may be
/// what an editor is about to rename (`sed -i` writes `sedXXXXXX`).
const UNNAMED_GRACE: Duration = Duration::from_secs(1);
/// The kernel's clock for file times ticks as seldom as this: of two changes within a tick the second one shows nowhere.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// Which files to read again although they look as before.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    /// All of them.
    pub(super) everything: bool,
    /// Those of these paths, without links.
    pub(super) touched: BTreeSet<PathBuf>,
    /// Those of these paths went, though another of their name may be there by now.
    pub(super) gone: BTreeSet<PathBuf>,
    /// Those of these paths are being written: they stay as they are.
    pub(super) held: BTreeSet<PathBuf>,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// The complete set; `None` where it could not be told yet.
    pub(super) set: Option<SourceSet>,
    /// It is told when it is known what runs.
    pub(super) undecided: bool,
    /// What to watch from now on.
    pub(super) watchlist: Watchlist,
    /// When to look again even if nothing is told.
    pub(super) again: Option<Duration>,
    /// What to write down.
    pub(super) changes: Vec<Change>,
    /// The files that were read, their paths without links.
    pub(super) read: Vec<PathBuf>,
    /// Whether the directory is there.
    pub(super) state: State,
}

/// The directory with all that is known of its files.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    path: PathBuf,
    context: ManifestContext,
    kept: Option<Kept>,
    files: BTreeMap<PathBuf, Known>,
    /// How often a file went.
    departures: u64,
    /// Which of them gives what several have.
    claims: Claims,
    /// Whether that was decided once.
    settled: bool,
    /// What was last written down of who waits.
    waiting: Option<Vec<(PathBuf, String)>>,
    read_once: bool,
    listed_once: bool,
    again: Option<Duration>,
    changes: Vec<Change>,
    read: Vec<PathBuf>,
}

impl Directory {
    /// Nothing is known yet.
    pub(super) fn new(path: PathBuf, context: ManifestContext, kept: Option<Kept>) -> Directory {
        Directory {
            path,
            context,
            kept,
            files: BTreeMap::new(),
            departures: 0,
            claims: Claims::default(),
            settled: false,
            waiting: None,
            read_once: false,
            listed_once: false,
            again: None,
            changes: Vec::new(),
            read: Vec::new(),
        }
    }

    /// Whether it was decided once which file gives what several have. Until then [`Directory::look`] may need to know
    /// what runs.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Looks at the directory and reads what changed. `running` are the UIDs of the pods that the runtime has, where
    /// that is known.
    pub(super) fn look(&mut self, look: &Look, running: Option<&BTreeSet<PodUid>>, now: Timestamp) -> Seen {
        self.again = None;
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
            // What is on disk of the time before is needed until all is decided.
            changes: match undecided {
                true => Vec::new(),
                false => std::mem::take(&mut self.changes),
            },
            read: std::mem::take(&mut self.read),
            state,
        }
    }

    /// Marks the files that went, whether or not another of their name is there by now.
    fn note_gone(&mut self, gone: &BTreeSet<PathBuf>) {
        for known in self.files.values_mut() {
            if known.paths.iter().any(|path| gone.contains(path)) {
                known.was_gone = true;
                known.again = true;
            }
        }
    }

    /// Takes a file that was renamed within the directory for the one that it is: what it claims stays its own, though
    /// its pods are other ones, as under the kubelet: the file's path is part of their UIDs. Answers which files are not
    /// looked at yet: within its grace the former name may come back, and then that is the file, and this a copy.
    fn follow_renames(&mut self, entries: &[Entry], grace: Duration, now: Timestamp) -> BTreeSet<PathBuf> {
        let there: BTreeSet<&Path> = entries.iter().map(|entry| entry.path.as_path()).collect();
        let left = self
            .files
            .iter()
            .filter(|(path, _)| !there.contains(path.as_path()));
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
            let known = self.files.get(&entry.path).and_then(|known| known.stamp);
            // Another name of the same file, which was there before, is no new name.
            if known.is_some_and(|stamp| stamp.identity() == identity) {
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

    /// Brings what is known of one file up to date.
    fn entry(&mut self, entry: &Entry, look: &Look, now: Timestamp) {
        let real = entry.real.as_ref().unwrap_or(&entry.path);
        if look.held.contains(real) {
            // As it was, if it was; the one who writes it will tell when it is done.
            if let Some(known) = self.files.get_mut(&entry.path) {
                known.gone_since = None;
            }
            return;
        }
        let again = look.everything || look.touched.contains(real);
        let known = self.files.get(&entry.path);
        let known = known.filter(|known| !known.again).and_then(|known| known.stamp);
        let stamp = match file::stamp(&entry.path) {
            Ok(stamp) => stamp,
            Err(refused) => return self.refused(entry, refused, now),
        };
        if !again && known == Some(stamp) {
            if let Some(known) = self.files.get_mut(&entry.path) {
                known.gone_since = None;
            }
            return;
        }
        if let Some(wait) = unnamed_wait(&entry.path, &stamp, now).filter(|_| known.is_none()) {
            return self.look_again(wait);
        }
        self.read.push(real.clone());
        match file::read(&entry.path) {
            Err(refused) => self.refused(entry, refused, now),
            Ok((bytes, stamp)) => {
                let content = self.parse(&bytes, &entry.path, now);
                self.take(entry, content, now);
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

    fn parse(&self, bytes: &[u8], path: &Path, now: Timestamp) -> Content {
        let context = &self.context;
        // The readers of YAML and of Kubernetes' types are not ours alone: should one of them panic on some
        // manifest, that must not end the agent, nor end it again at every start.
        let read = std::panic::catch_unwind(|| read_with_content(bytes, path, context, now));
        read.unwrap_or_else(|_panic| {
            let message =
                "cannot be read because of a fault in gantry: please report it with the file".to_owned();
            Content {
                problems: vec![whole_file(path, message)],
                ..Content::default()
            }
        })
    }

    /// A file that is there and cannot be read keeps its pods and has a problem.
    fn refused(&mut self, entry: &Entry, refused: Refused, now: Timestamp) {
        let message = match refused {
            // It went away since the directory was listed.
            Refused::Gone if !entry.is_link => return self.gone(&entry.path, FILE_GRACE, now),
            Refused::Gone => "is a link that leads nowhere: let it lead to a file".to_owned(),
            Refused::Unreadable(message) => message,
        };
        let problem = whole_file(&entry.path, message);
        if let Some(known) = self.files.get_mut(&entry.path)
            && known.problems == [problem.clone()]
        {
            known.gone_since = None;
            return;
        }
        let content = Content {
            problems: vec![problem],
            ..Content::default()
        };
        self.take(entry, content, now);
    }

    /// Takes over what a file says now.
    fn take(&mut self, entry: &Entry, content: Content, now: Timestamp) {
        let path = entry.path.as_path();
        let before = match self.files.remove(path) {
            // What had this name went, and nothing of it is left to this one.
            Some(known) if known.was_gone => {
                self.departures += 1;
                self.unknown()
            }
            Some(known) => known,
            // Only a broken file needs what it was before the agent started.
            None if content.problems.is_empty() => self.unknown(),
            None => self.kept(path, now),
        };
        let known = Known {
            paths: [entry.found.clone(), entry.real.clone().unwrap_or_default()],
            ..before.after(path, content)
        };
        if self.kept.is_some() {
            self.changes.push(Change::Keep(path.to_owned(), known.to_keep()));
        }
        self.files.insert(path.to_owned(), known);
    }

    /// What is known of a file that has just come.
    fn unknown(&self) -> Known {
        Known {
            incarnation: self.departures,
            ..Known::default()
        }
    }

    fn kept(&self, path: &Path, now: Timestamp) -> Known {
        let content = self.kept.as_ref().map(|kept| kept.load(path, &self.context, now));
        Known::of_kept(content.unwrap_or_default(), self.departures)
    }

    /// Lets go of the files that are not there any more.
    fn forget_others(&mut self, entries: &[Entry], grace: Duration, now: Timestamp) {
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

    /// Once: what was removed while no agent ran must not come back with a broken file of the same name.
    fn forget_kept_of_others(&mut self, entries: &[Entry]) {
        if self.kept.is_some() && !std::mem::replace(&mut self.listed_once, true) {
            let paths = entries.iter().map(|entry| entry.path.clone()).collect();
            self.changes.push(Change::Only(paths));
        }
    }

    /// A file is gone when its time has passed.
    fn gone(&mut self, path: &Path, grace: Duration, now: Timestamp) {
        let Some(known) = self.files.get_mut(path) else {
            return;
        };
        let since = *known.gone_since.get_or_insert(now);
        let passed = since_then(since, now);
        if passed >= grace || (known.pods.is_empty() && known.objects.is_empty()) {
            self.files.remove(path);
            self.departures += 1;
            self.changes.push(Change::Forget(path.to_owned()));
        } else {
            known.again = true;
            self.look_again(grace - passed);
        }
    }

    fn look_again(&mut self, wait: Duration) {
        self.again = Some(self.again.map_or(wait, |again| again.min(wait)));
    }

    /// All pods and objects. `None`: at the start two files want the same, and what runs is not known yet.
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
        // A directory that comes later, with a mount, comes as it was when an agent ran last.
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

fn since_then(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

fn age(stamp: &Stamp, now: Timestamp) -> Duration {
    let nanos = now.as_nanosecond() - stamp.changed_nanos();
    // A file of the future is an old one: clocks are set back at times.
    u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
}

/// How long a file that is not called a manifest is not taken for one yet.
fn unnamed_wait(path: &Path, stamp: &Stamp, now: Timestamp) -> Option<Duration> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    if matches!(extension, "yaml" | "yml" | "json") {
        return None;
    }
    UNNAMED_GRACE
        .checked_sub(age(stamp, now))
        .filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests;
