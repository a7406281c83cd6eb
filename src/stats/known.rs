//! What was read of each cgroup: of one in which nothing has run since, little is read again; of those in a pod in which
//! nothing has run, their memory alone; of those in a pod in which nothing has happened, nothing. On a node most cgroups
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
use crate::model::usage::{Pressure, PressureUsage, Usage};

/// For how long limits are taken to be as they were read, at most: the agent knows when it changes them itself. Half of
/// it is the least, so that not all cgroups have their turn in one reading.
const LONGEST: Duration = Duration::from_secs(300);
/// The descriptors of one cgroup, on v1.
const DESCRIPTORS: u64 = 5;
/// The cgroups that stay open at most: ten containers in each of two hundred pods.
const MOST_OPEN: u64 = 2048;

/// What is known of the cgroup above one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Above {
    /// Something may have happened in it.
    Busy,
    /// Nothing has run in it or in any below it, and nothing of theirs has reached a disk. Their memory may have changed.
    Asleep,
    /// Nothing has happened in it, nor in any below it.
    Quiet,
}

/// What is asked of a cgroup.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Its path.
    pub(super) path: &'a str,
    /// The cgroup above.
    pub(super) above: Above,
    /// Limits that were read before are read again.
    pub(super) limits_since: Instant,
    /// How much is wanted.
    pub(super) depth: Depth,
    /// `/proc`
    pub(super) proc: &'a Path,
}

/// Where a cgroup needs a look, as the one above says, whose counters have this one's in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Nowhere,
    AtMemory,
    Everywhere,
}

/// How much is read of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// What changes although nothing runs in it and its memory is the same.
    Idle,
    /// The same, and its memory.
    Sleeping,
    /// Everything.
    All,
}

/// Whether limits, which change seldom, are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limits {
    Remembered,
    Due,
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

/// The answer about a cgroup.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: Arc<str>,
    pub(super) read: Read,
    /// What it says about the cgroups below it.
    pub(super) below: Above,
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
    /// Nothing had happened before the last reading, either: the kernel adds its counters of memory up within two seconds
    /// (`FLUSH_TIME` of `mm/memcontrol.c`), so that a reading just after the last activity may lack a part of it.
    is_settled: bool,
    depth: Depth,
    /// When limits were read, and when they are to be read again.
    limits: (Instant, Instant),
}

/// The cgroups that were read.
#[derive(Debug)]
pub(super) struct KnownCgroups {
    known: HashMap<Arc<str>, Known>,
    open: u64,
    most_open: u64,
}

impl Default for KnownCgroups {
    fn default() -> KnownCgroups {
        KnownCgroups {
            known: HashMap::new(),
            open: 0,
            most_open: most_open(),
        }
    }
}

impl KnownCgroups {
    /// Reads a cgroup; absent if it does not exist.
    pub(super) fn read(&mut self, reader: &mut UsageReader<'_>, asked: Asked<'_>) -> Option<Found> {
        let now = Instant::now();
        if let Some((path, known)) = self.known.remove_entry(asked.path) {
            let looked = match look(&known, &asked, now) {
                Look::Nowhere => Some((known.read.clone(), known.state)),
                Look::AtMemory => with_memory(reader, &known),
                Look::Everywhere => None,
            };
            let Some((read, state)) = looked else {
                return self.read_again(reader, asked, (path, Some(known)), now);
            };
            let known = Known {
                cgroup: known.cgroup,
                read: read.clone(),
                state,
                is_current: true,
            };
            self.known.insert(Arc::clone(&path), known);
            return Some(Found {
                path,
                read,
                below: asked.above,
            });
        }
        self.read_again(reader, asked, (Arc::from(asked.path), None), now)
    }

    fn read_again(
        &mut self,
        reader: &mut UsageReader<'_>,
        asked: Asked<'_>,
        (path, known): (Arc<str>, Option<Known>),
        now: Instant,
    ) -> Option<Found> {
        let (known, open) = known.map_or((None, None), |mut known| {
            let open = known.cgroup.take();
            (Some(known), open)
        });
        self.open -= u64::from(open.is_some());
        let (cgroup, activity) = active(reader, &path, open)?;
        // Another one of the same path is not known.
        let known = known.filter(|known| known.read.number == cgroup.number);
        let before = known.as_ref().map(|known| known.state);
        let (extent, limits) = extent(before, activity, &asked, now);
        let last = known.map(|known| known.read);
        let read = read(
            reader,
            &cgroup,
            (activity, extent, limits),
            (last.as_ref(), &asked),
        );
        let below = match (extent, &last) {
            (Extent::Idle, Some(last)) if is_quiet(&last.usage, &read.usage) => Above::Quiet,
            (Extent::Sleeping, Some(last)) if is_quiet(&last.usage, &read.usage) => Above::Asleep,
            _ => Above::Busy,
        };
        let state = State {
            activity,
            is_settled: before.is_some_and(|before| before.activity == activity),
            depth: match (extent, before) {
                (Extent::Idle | Extent::Sleeping, Some(before)) => before.depth,
                _ => asked.depth,
            },
            limits: match (limits, before) {
                (Limits::Remembered, Some(before)) => before.limits,
                _ => (now, now + believed(cgroup.number)),
            },
        };
        let keep = self.open < self.most_open;
        self.open += u64::from(keep);
        let known = Known {
            cgroup: keep.then_some(cgroup),
            read: read.clone(),
            state,
            is_current: true,
        };
        self.known.insert(Arc::clone(&path), known);
        Some(Found { path, read, below })
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

/// Of one below a cgroup in which nothing has happened since it was read twice with the same result, everything is known.
/// Averages of lost time fall although nothing happens.
fn look(known: &Known, asked: &Asked<'_>, now: Instant) -> Look {
    let has_no_averages = stalls(&known.read.usage.pressure).all(|pressure| {
        let some = pressure.some;
        [some.avg10, some.avg60, some.avg300]
            .iter()
            .all(|average| *average == 0.0)
    });
    let is_enough = known.state.depth >= asked.depth && limits(known.state, asked, now) == Limits::Remembered;
    match asked.above {
        Above::Quiet if is_enough && has_no_averages && known.state.is_settled => Look::Nowhere,
        Above::Asleep if is_enough && has_no_averages => Look::AtMemory,
        _ => Look::Everywhere,
    }
}

/// What was read, with the memory as it is now; absent if the cgroup is not open, or gone.
fn with_memory(reader: &mut UsageReader<'_>, known: &Known) -> Option<(Read, State)> {
    let cgroup = known.cgroup.as_ref()?;
    let activity = known.state.activity.with_memory(reader.memory_in_use(cgroup)?);
    let is_same = known.state.activity == activity;
    let state = State {
        activity,
        is_settled: is_same,
        ..known.state
    };
    let mut read = known.read.clone();
    if !is_same || !known.state.is_settled {
        read.usage = reader.usage_with_memory(cgroup, activity, &read.usage);
    }
    Some((read, state))
}

/// Whether nothing else has happened below a cgroup in which nothing runs: no I/O that reached its disk, and no lost time.
fn is_quiet(last: &Usage, usage: &Usage) -> bool {
    let lost = |usage: &Usage| {
        stalls(&usage.pressure)
            .map(|one| one.some.total)
            .collect::<Vec<_>>()
    };
    last.io == usage.io && lost(last) == lost(usage)
}

fn stalls(pressure: &PressureUsage) -> impl Iterator<Item = Pressure> {
    [pressure.cpu, pressure.memory, pressure.io].into_iter().flatten()
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

fn extent(before: Option<State>, activity: Activity, asked: &Asked<'_>, now: Instant) -> (Extent, Limits) {
    let Some(before) = before else {
        return (Extent::All, Limits::Due);
    };
    // What only a running process can change was read after the CPU time was, so that it needs no second look.
    let has_not_run = before.activity.has_same_cpu_time(&activity);
    let extent = match before.depth >= asked.depth {
        true if before.activity == activity && before.is_settled => Extent::Idle,
        true if has_not_run => Extent::Sleeping,
        _ => Extent::All,
    };
    (extent, limits(before, asked, now))
}

fn limits(before: State, asked: &Asked<'_>, now: Instant) -> Limits {
    let (read, due) = before.limits;
    match read < asked.limits_since || due <= now {
        true => Limits::Due,
        false => Limits::Remembered,
    }
}

/// For how long the limits of the cgroup of this number are taken to be as they are.
fn believed(number: u64) -> Duration {
    let half = LONGEST / 2;
    half + Duration::from_secs(number % half.as_secs())
}

fn read(
    reader: &mut UsageReader<'_>,
    cgroup: &OpenCgroup,
    (activity, extent, limits): (Activity, Extent, Limits),
    (last, asked): (Option<&Read>, &Asked<'_>),
) -> Read {
    let usage = match (extent, last) {
        (Extent::Idle, Some(last)) => Some((last, reader.usage_of_idle(cgroup, &last.usage))),
        (Extent::Sleeping, Some(last)) => {
            Some((last, reader.usage_of_sleeping(cgroup, activity, &last.usage)))
        }
        _ => None,
    };
    if let Some((last, usage)) = usage {
        return Read {
            usage: match limits {
                Limits::Remembered => usage,
                Limits::Due => reader.with_limits(cgroup, usage),
            },
            ..last.clone()
        };
    }
    let limits = last.filter(|_| limits == Limits::Remembered);
    let usage = reader.usage(cgroup, activity, limits.map(|last| &last.usage));
    let pids = reader.processes(cgroup);
    let processes = match asked.depth {
        Depth::Processes => processes::of(asked.proc, &pids),
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
    fn check(known: &mut KnownCgroups, files: &Files, asked: Asked<'_>, expected: Option<(u64, u64)>) {
        let cgroups = Cgroups::unified(files.0.path()).unwrap();
        let found = known.read(&mut cgroups.usage_reader(), asked);
        known.end();
        let found = found.and_then(|found| {
            let memory = found.read.usage.memory?;
            Some((memory.rss, memory.limits.memory?))
        });
        assert_eq!(found, expected);
    }

    fn ask(above: Above, limits_since: Instant) -> Asked<'static> {
        Asked {
            path: "/a",
            above,
            limits_since,
            depth: Depth::Counters,
            proc: Path::new("/proc"),
        }
    }

    /// Each call reads the cgroup once more; what it then says about those below it.
    fn below(files: &Files) -> impl FnMut() -> Above {
        let (mut known, begun) = (KnownCgroups::default(), Instant::now());
        move || {
            let cgroups = Cgroups::unified(files.0.path()).unwrap();
            let found = known.read(&mut cgroups.usage_reader(), ask(Above::Busy, begun));
            found.unwrap().below
        }
    }

    #[test]
    fn what_is_idle_is_not_read_again_until_something_happens() {
        let (files, mut known) = (Files::new(), KnownCgroups::default());
        let begun = Instant::now();
        let busy = ask(Above::Busy, begun);
        check(&mut known, &files, busy, Some((1, 1000)));
        // Read once more after nothing has happened.
        files.write("a/memory.stat", "anon 2");
        files.write("a/memory.max", "2000");
        check(&mut known, &files, busy, Some((2, 1000)));
        files.write("a/memory.stat", "anon 3");
        check(&mut known, &files, busy, Some((2, 1000)));
        files.write("a/cpu.stat", "usage_usec 2");
        check(&mut known, &files, busy, Some((3, 1000)));
        files.write("a/memory.current", "101");
        files.write("a/memory.stat", "anon 4");
        check(&mut known, &files, busy, Some((4, 1000)));
        // As the caller knows that somebody has changed it.
        check(
            &mut known,
            &files,
            ask(Above::Busy, Instant::now()),
            Some((4, 2000)),
        );
    }

    #[test]
    fn of_a_cgroup_in_which_nothing_ran_its_memory_is_read_alone() {
        let (files, mut known) = (Files::new(), KnownCgroups::default());
        let begun = Instant::now();
        let mut read = || {
            let cgroups = Cgroups::unified(files.0.path()).unwrap();
            let found = known.read(&mut cgroups.usage_reader(), ask(Above::Busy, begun));
            let read = found.unwrap().read;
            let memory = read.usage.memory.unwrap();
            (
                memory.usage,
                memory.rss,
                memory.max_usage.unwrap(),
                read.processes.count,
            )
        };
        files.write("a/memory.peak", "200");
        files.write("a/cgroup.procs", "7");
        assert_eq!(read(), (100, 1, 200, 1));
        // The kernel takes some back. What else is written here is not looked at.
        files.write("a/memory.current", "50");
        files.write("a/memory.stat", "anon 2");
        files.write("a/memory.peak", "300");
        files.write("a/cgroup.procs", "7\n8");
        assert_eq!(read(), (50, 2, 200, 1));
        files.write("a/memory.current", "60");
        assert_eq!(read(), (60, 2, 300, 1));
        files.write("a/cpu.stat", "usage_usec 2");
        assert_eq!(read(), (60, 2, 300, 2));
        // Without a count of CPU time nobody knows whether something has run.
        fs::remove_file(files.0.path().join("a/cpu.stat")).unwrap();
        assert_eq!(read(), (60, 2, 300, 2));
        files.write("a/memory.current", "40");
        files.write("a/cgroup.procs", "7");
        assert_eq!(read(), (40, 2, 300, 1));
    }

    #[test]
    fn limits_of_an_idle_cgroup_are_read_alone() {
        let (files, mut known) = (Files::new(), KnownCgroups::default());
        let busy = ask(Above::Busy, Instant::now());
        check(&mut known, &files, busy, Some((1, 1000)));
        check(&mut known, &files, busy, Some((1, 1000)));
        files.write("a/memory.stat", "anon 2");
        files.write("a/memory.max", "2000");
        check(
            &mut known,
            &files,
            ask(Above::Quiet, Instant::now()),
            Some((1, 2000)),
        );
    }

    #[test]
    fn below_a_quiet_cgroup_nothing_is_read_but_what_is_not_settled() {
        let (files, mut known) = (Files::new(), KnownCgroups::default());
        let quiet = ask(Above::Quiet, Instant::now());
        check(&mut known, &files, quiet, Some((1, 1000)));
        files.write("a/memory.stat", "anon 2");
        check(&mut known, &files, quiet, Some((2, 1000)));
        files.write("a/cpu.stat", "usage_usec 2");
        files.write("a/memory.stat", "anon 3");
        check(&mut known, &files, quiet, Some((2, 1000)));
        check(
            &mut known,
            &files,
            ask(Above::Busy, Instant::now()),
            Some((3, 1000)),
        );
        // Time was lost a while ago, and the averages fall.
        files.write("a/cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.50 total=9");
        check(&mut known, &files, quiet, Some((3, 1000)));
        check(&mut known, &files, quiet, Some((3, 1000)));
        files.write("a/cpu.stat", "usage_usec 3");
        files.write("a/memory.stat", "anon 4");
        check(&mut known, &files, quiet, Some((4, 1000)));
    }

    #[test]
    fn below_a_sleeping_cgroup_memory_is_read_alone() {
        let (files, mut known) = (Files::new(), KnownCgroups::default());
        let begun = Instant::now();
        let (busy, asleep) = (ask(Above::Busy, begun), ask(Above::Asleep, begun));
        let mut read = |asked| {
            let cgroups = Cgroups::unified(files.0.path()).unwrap();
            let read = known.read(&mut cgroups.usage_reader(), asked).unwrap().read;
            let usage = read.usage;
            let memory = usage.memory.unwrap();
            (memory.usage, memory.rss, usage.cpu.unwrap().total, usage.io.len())
        };
        files.write("a/memory.swap.current", "0");
        assert_eq!(read(asleep), (100, 1, 1000, 0));
        // The kernel takes some back. What else is written here is not looked at.
        files.write("a/cpu.stat", "usage_usec 2");
        files.write("a/io.stat", "254:0 rbytes=1 wbytes=2 rios=3 wios=4");
        files.write("a/memory.current", "50");
        files.write("a/memory.stat", "anon 2");
        assert_eq!(read(asleep), (50, 2, 1000, 0));
        // The kernel's sums may have been late.
        files.write("a/memory.stat", "anon 3");
        assert_eq!(read(asleep), (50, 3, 1000, 0));
        files.write("a/memory.stat", "anon 4");
        assert_eq!(read(asleep), (50, 3, 1000, 0));
        assert_eq!(read(busy), (50, 4, 2000, 1));
        // Time was lost a while ago, and the averages fall.
        files.write("a/io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.50 total=9");
        files.write("a/cpu.stat", "usage_usec 3");
        assert_eq!(read(busy), (50, 4, 3000, 1));
        files.write("a/cpu.stat", "usage_usec 4");
        assert_eq!(read(asleep), (50, 4, 4000, 1));
    }

    #[test]
    fn a_cgroup_sleeps_while_only_its_memory_changes() {
        let files = Files::new();
        let mut below = below(&files);
        assert_eq!(below(), Above::Busy);
        files.write("a/memory.current", "50");
        assert_eq!(below(), Above::Asleep);
        files.write("a/memory.current", "40");
        files.write("a/io.stat", "254:0 rbytes=1 wbytes=2 rios=3 wios=4");
        assert_eq!(below(), Above::Busy);
        files.write("a/memory.current", "30");
        assert_eq!(below(), Above::Asleep);
        files.write("a/cpu.stat", "usage_usec 2");
        assert_eq!(below(), Above::Busy);
    }

    #[test]
    fn a_cgroup_is_quiet_when_it_is_idle_and_nothing_reaches_its_disk() {
        let files = Files::new();
        let mut below = below(&files);
        assert_eq!(below(), Above::Busy);
        assert_eq!(below(), Above::Asleep);
        assert_eq!(below(), Above::Quiet);
        files.write("a/io.stat", "254:0 rbytes=1 wbytes=2 rios=3 wios=4");
        assert_eq!(below(), Above::Busy);
        assert_eq!(below(), Above::Quiet);
    }

    #[test]
    fn another_cgroup_of_the_same_path_is_read_whole() {
        let (files, mut known) = (Files::new(), KnownCgroups::default());
        let busy = ask(Above::Busy, Instant::now());
        check(&mut known, &files, busy, Some((1, 1000)));
        check(&mut known, &files, busy, Some((1, 1000)));
        fs::rename(files.0.path().join("a"), files.0.path().join("b")).unwrap();
        fs::remove_dir_all(files.0.path().join("b")).unwrap();
        check(&mut known, &files, busy, None);
        files.write("a/cpu.stat", "usage_usec 1");
        files.write("a/memory.current", "100");
        files.write("a/memory.stat", "anon 7");
        files.write("a/memory.max", "3000");
        check(&mut known, &files, busy, Some((7, 3000)));
        assert_eq!(known.open, 1);
    }

    #[test]
    fn limits_are_read_again_after_minutes_and_not_all_at_once() {
        let (files, mut known) = (Files::new(), KnownCgroups::default());
        let asked = ask(Above::Busy, Instant::now());
        check(&mut known, &files, asked, Some((1, 1000)));
        let mut state = known.known.values().next().unwrap().state;
        state.is_settled = true;
        let (read, due) = state.limits;
        let of = |now, depth| extent(Some(state), state.activity, &Asked { depth, ..asked }, now);
        let soon = due - Duration::from_secs(1);
        assert_eq!(of(soon, Depth::Counters), (Extent::Idle, Limits::Remembered));
        assert_eq!(of(soon, Depth::Processes), (Extent::All, Limits::Remembered));
        assert_eq!(of(due, Depth::Counters), (Extent::Idle, Limits::Due));
        assert!(due - read <= LONGEST);
        assert_ne!(believed(7), believed(8));
    }
}
