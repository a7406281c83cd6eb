//! What was read of each cgroup: of one in which nothing has happened since, little is read again. On a node most cgroups
//! are idle most of the time, those of sandboxes nearly always.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::resource::{Resource, getrlimit};

use super::depth::Depth;
use super::processes;
use crate::cgroup::{Activity, OpenCgroup, UsageReader};
use crate::model::stats::ProcessUsage;
use crate::model::usage::Usage;

/// For how long what was read once is taken to be so still.
const LONGEST: Duration = Duration::from_secs(60);
/// The descriptors of one cgroup, on v1.
const DESCRIPTORS: u64 = 5;
/// The cgroups that stay open at most: ten containers in each of two hundred pods.
const MOST_OPEN: u64 = 2048;

/// How much of a cgroup is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extent {
    /// What changes although nothing runs in it.
    Idle,
    /// What is counted.
    Counted,
    /// Limits, too, which somebody else may have changed.
    All,
}

/// What was read of a cgroup.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Read {
    pub(super) created: Timestamp,
    pub(super) number: u64,
    pub(super) usage: Usage,
    pub(super) processes: ProcessUsage,
    /// One of its processes.
    first: Option<u32>,
}

/// What is known of a cgroup.
#[derive(Debug)]
struct Known {
    /// Open as long as there are descriptors to spare.
    cgroup: Option<OpenCgroup>,
    read: Read,
    state: State,
    /// Whether it was asked for in this reading.
    is_current: bool,
}

/// What decides how much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    activity: Activity,
    /// Nothing had happened before the last reading, either: the kernel adds its counters up within two seconds
    /// (`FLUSH_TIME` of `mm/memcontrol.c`), so that a reading just after the last activity may lack a part of it.
    is_settled: bool,
    depth: Depth,
    /// When everything was read.
    whole: Instant,
}

/// The cgroups that were read.
#[derive(Debug, Default)]
pub(super) struct KnownCgroups {
    known: HashMap<Arc<str>, Known>,
    open: u64,
}

impl KnownCgroups {
    /// Reads the cgroup at this path, at least to this extent; absent if it does not exist.
    pub(super) fn read(
        &mut self,
        reader: &mut UsageReader<'_>,
        (path, least): (&str, Extent),
        (depth, proc): (Depth, &Path),
    ) -> Option<(Arc<str>, Read)> {
        let now = Instant::now();
        let (name, known) = match self.known.remove_entry(path) {
            Some((name, known)) => (name, Some(known)),
            None => (Arc::from(path), None),
        };
        let (known, open) = known.map_or((None, None), |mut known| {
            let open = known.cgroup.take();
            (Some(known), open)
        });
        self.open -= u64::from(open.is_some());
        let (cgroup, activity) = active(reader, path, open)?;
        // Another one of the same path is not known.
        let known = known.filter(|known| known.read.number == cgroup.number);
        let before = known.as_ref().map(|known| known.state);
        let extent = extent(before, activity, depth, now).max(least);
        let last = known.map(|known| known.read);
        let read = read(reader, &cgroup, (activity, extent, last), (depth, proc));
        let state = State {
            activity,
            is_settled: before.is_some_and(|before| before.activity == activity),
            depth: match (extent, before) {
                (Extent::Idle, Some(before)) => before.depth,
                _ => depth,
            },
            whole: match (extent, before) {
                (Extent::Idle | Extent::Counted, Some(before)) => before.whole,
                _ => now,
            },
        };
        let keep = self.open < most_open();
        self.open += u64::from(keep);
        let known = Known {
            cgroup: keep.then_some(cgroup),
            read: read.clone(),
            state,
            is_current: true,
        };
        self.known.insert(Arc::clone(&name), known);
        Some((name, read))
    }

    /// A process of a cgroup that was read.
    pub(super) fn process(&self, path: &str) -> Option<u32> {
        self.known.get(path)?.read.first
    }

    /// Ends a reading: cgroups that were not asked for are forgotten, and closed.
    pub(super) fn end(&mut self) {
        self.known
            .retain(|_, known| std::mem::replace(&mut known.is_current, false));
        self.open = self.known.values().filter(|known| known.cgroup.is_some()).count() as u64;
    }
}

/// The cgroup with what shows whether anything has happened. One that is gone may have a successor.
fn active(
    reader: &mut UsageReader<'_>,
    path: &str,
    open: Option<OpenCgroup>,
) -> Option<(OpenCgroup, Activity)> {
    let known = open.and_then(|cgroup| {
        let activity = reader.activity(&cgroup)?;
        Some((cgroup, activity))
    });
    known.or_else(|| {
        let cgroup = reader.open(path)?;
        let activity = reader.activity(&cgroup)?;
        Some((cgroup, activity))
    })
}

fn extent(before: Option<State>, activity: Activity, depth: Depth, now: Instant) -> Extent {
    match before {
        None => Extent::All,
        Some(before) if now.duration_since(before.whole) >= LONGEST => Extent::All,
        Some(before) if before.activity != activity || !before.is_settled || before.depth < depth => {
            Extent::Counted
        }
        Some(_) => Extent::Idle,
    }
}

fn read(
    reader: &mut UsageReader<'_>,
    cgroup: &OpenCgroup,
    (activity, extent, last): (Activity, Extent, Option<Read>),
    (depth, proc): (Depth, &Path),
) -> Read {
    match (extent, last) {
        (Extent::Idle, Some(last)) => Read {
            usage: reader.usage_of_idle(cgroup, &last.usage),
            ..last
        },
        (extent, last) => {
            let limits = last.as_ref().filter(|_| extent < Extent::All);
            let usage = reader.usage(cgroup, activity, limits.map(|last| &last.usage));
            let pids = reader.processes(cgroup);
            let processes = match depth {
                Depth::Processes => processes::of(proc, &pids),
                Depth::Counters => ProcessUsage {
                    count: pids.len() as u64,
                    ..ProcessUsage::default()
                },
            };
            Read {
                created: cgroup.created,
                number: cgroup.number,
                usage,
                processes,
                first: pids.first().copied(),
            }
        }
    }
}

/// At most a quarter of what this process may have open.
fn most_open() -> u64 {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    (limit / 4 / DESCRIPTORS).min(MOST_OPEN)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cgroup::Cgroups;

    /// A directory as the kernel has one for a cgroup.
    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Files {
            let files = Files(tempfile::tempdir().unwrap());
            files.write("cgroup.controllers", "cpu memory");
            files.write("a/cpu.stat", "usage_usec 1");
            files.write("a/memory.current", "100");
            files.write("a/memory.stat", "anon 1");
            files.write("a/memory.max", "1000");
            files
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
    }

    /// What is found of anonymous memory and the limit.
    fn check(known: &mut KnownCgroups, files: &Files, least: Extent, expected: Option<(u64, u64)>) {
        let cgroups = Cgroups::unified(files.0.path()).unwrap();
        let (depth, proc) = (Depth::Counters, Path::new("/proc"));
        let read = known.read(&mut cgroups.usage_reader(), ("/a", least), (depth, proc));
        known.end();
        let found = read.and_then(|(_, read)| {
            let memory = read.usage.memory?;
            Some((memory.rss, memory.limits.memory?))
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_idle_is_not_read_again_until_something_happens() {
        let (files, mut known) = (Files::new(), KnownCgroups::default());
        check(&mut known, &files, Extent::Idle, Some((1, 1000)));
        // Read once more after nothing has happened.
        files.write("a/memory.stat", "anon 2");
        files.write("a/memory.max", "2000");
        check(&mut known, &files, Extent::Idle, Some((2, 1000)));
        files.write("a/memory.stat", "anon 3");
        check(&mut known, &files, Extent::Idle, Some((2, 1000)));
        files.write("a/cpu.stat", "usage_usec 2");
        check(&mut known, &files, Extent::Idle, Some((3, 1000)));
        files.write("a/memory.current", "101");
        files.write("a/memory.stat", "anon 4");
        check(&mut known, &files, Extent::Idle, Some((4, 1000)));
        // As the caller knows that somebody has changed it.
        check(&mut known, &files, Extent::All, Some((4, 2000)));
    }

    #[test]
    fn another_cgroup_of_the_same_path_is_read_whole() {
        let (files, mut known) = (Files::new(), KnownCgroups::default());
        check(&mut known, &files, Extent::Idle, Some((1, 1000)));
        check(&mut known, &files, Extent::Idle, Some((1, 1000)));
        fs::rename(files.0.path().join("a"), files.0.path().join("b")).unwrap();
        fs::remove_dir_all(files.0.path().join("b")).unwrap();
        check(&mut known, &files, Extent::Idle, None);
        files.write("a/cpu.stat", "usage_usec 1");
        files.write("a/memory.current", "100");
        files.write("a/memory.stat", "anon 7");
        files.write("a/memory.max", "3000");
        check(&mut known, &files, Extent::Idle, Some((7, 3000)));
        assert_eq!(known.open, 1);
    }

    #[test]
    fn what_is_old_is_read_whole() {
        let (files, mut known) = (Files::new(), KnownCgroups::default());
        check(&mut known, &files, Extent::Idle, Some((1, 1000)));
        let mut state = known.known.values().next().unwrap().state;
        state.is_settled = true;
        let at = |seconds| state.whole + Duration::from_secs(seconds);
        let of = |now, depth| extent(Some(state), state.activity, depth, now);
        assert_eq!(of(at(59), Depth::Counters), Extent::Idle);
        assert_eq!(of(at(59), Depth::Processes), Extent::Counted);
        assert_eq!(of(at(60), Depth::Counters), Extent::All);
    }
}
