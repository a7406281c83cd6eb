//! What changes on the machine: memory, disks and processes, measured as by the kubelet's eviction manager and its
//! cadvisor. Each measurement reads a handful of files.
//!
//! The machine is measured periodically, and whenever loop 1 wants it. In between it is looked at as soon as it could run
//! out of something if that were used as fast as machines can; and at once when the kernel gives notice that memory becomes
//! short. Such a look is published only if a threshold is crossed, or is not any more.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::stat::stat;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::machine::{self, MachineError};
use crate::cgroup::{Cgroups, MemoryNotice};
use crate::cri::Runtime;
use crate::model::eviction::{EvictionPolicy, Signal, Starved};
use crate::model::measured::{Available, DiskLayout, FsUsage, Measured};
use crate::model::pods_use::Wanted;
use crate::model::resources::Bytes;

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(250);
/// Bytes of memory or of a disk that are used up in a second at most.
const BYTES_PER_SECOND: i64 = 2 << 30;
/// Inodes, likewise.
const INODES_PER_SECOND: i64 = 200_000;
/// Processes, likewise.
const PROCESSES_PER_SECOND: i64 = 20_000;

/// How long a measurement waits for the runtime to say where its images are.
const PATIENCE: Duration = Duration::from_secs(1);

/// What to measure.
#[derive(Clone)]
pub struct Places {
    /// The machine's root directory.
    pub root: PathBuf,
    /// The node's own directory.
    pub root_dir: PathBuf,
    /// The runtime's image directory, if known.
    pub images: Option<PathBuf>,
    /// The directory of the containers' own files, if it is another one.
    pub containers: Option<PathBuf>,
    /// The cgroups, of which the first of the pods' parents is measured; `None`: pods have no cgroups of their own.
    pub cgroups: Option<Cgroups>,
}

impl Places {
    /// Measures now.
    pub fn measure(&self) -> Result<Measured, MachineError> {
        let at = Timestamp::now();
        let root = &self.root;
        let memory = machine::memory(root)?;
        let disks = self.disks();
        let other = |path: &Option<PathBuf>| file_system(path.as_deref()?).ok();
        Ok(Measured {
            at,
            memory,
            memory_available: memory_available(root, memory)?,
            pods_memory: self.cgroups.as_ref().and_then(pods_memory),
            nodefs: file_system(&self.root_dir)?,
            // The runtime's directories may not exist yet.
            imagefs: other(&self.images),
            containerfs: match disks {
                DiskLayout::Split => other(&self.containers),
                DiskLayout::Shared | DiskLayout::Images => None,
            },
            disks,
            pids_max: pids_max(root)?,
            pids_used: pids_used(root)?,
        })
    }

    /// Orders the notices for the memory that is left now.
    fn order(&self, policy: &EvictionPolicy, measured: &Measured) -> Notices {
        let Some(cgroups) = &self.cgroups else {
            return Notices::default();
        };
        let notice = |signal: Signal, path: &str| {
            let room = measured.room(signal)?;
            let own = policy.thresholds.iter().filter(|own| own.signal == signal);
            let least = own.map(|own| own.value.of(room.capacity)).max()?;
            let working_set = u64::try_from(room.capacity.saturating_sub(least)).unwrap_or(0);
            // Kernels without it have the looks alone.
            cgroups.memory_notice(path, working_set).ok()
        };
        let pods = cgroups.pod_parents();
        Notices {
            machine: notice(Signal::Memory, "/"),
            pods: pods
                .first()
                .and_then(|path| notice(Signal::AllocatableMemory, path)),
        }
    }

    /// On which file systems images and containers' files are (`HasDedicatedImageFs` and `HasDedicatedContainerFs` of
    /// `pkg/kubelet`).
    fn disks(&self) -> DiskLayout {
        let device = |path: &Path| stat(path).ok().map(|stat| stat.st_dev);
        let nodes = device(&self.root_dir);
        let images = self.images.as_deref().and_then(device);
        let containers = self.containers.as_deref().and_then(device).or(images);
        match (images == nodes || images.is_none(), containers == images) {
            (true, _) => DiskLayout::Shared,
            (false, true) => DiskLayout::Images,
            (false, false) => DiskLayout::Split,
        }
    }
}

/// How the machine is measured.
pub struct Measuring {
    /// Where.
    pub places: Places,
    /// Asked where its images are while that is not known.
    pub runtime: Runtime,
    /// How often at least.
    pub every: Duration,
    /// The thresholds that must not be crossed unnoticed.
    pub policy: EvictionPolicy,
    /// What loop 1 wants to have measured.
    pub wanted: watch::Receiver<Wanted>,
    /// Where measurements are published.
    pub out: watch::Sender<Arc<Measured>>,
}

/// What the kernel was asked to give notice of.
#[derive(Default)]
struct Notices {
    machine: Option<MemoryNotice>,
    pods: Option<MemoryNotice>,
}

impl Measuring {
    /// Measures until canceled. A failed measurement is logged once, and the last one stays.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut failed = false;
        let mut notices = Notices::default();
        let mut ordered = None::<Instant>;
        let (mut published, mut next) = (Instant::now(), Instant::now());
        loop {
            let last = Instant::now();
            // All arms only wait; a notice that is missed is followed by the next look.
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
                Ok(()) = self.wanted.changed() => {}
                () = notices.given() => tokio::time::sleep_until(last + SHORTEST / 2).await,
            }
            self.ask_where().await;
            // The kernel takes its time to cancel an order.
            let orders = ordered.is_none_or(|ordered| Instant::now() >= ordered + self.every);
            let measured = self.measure(orders, &mut notices).await;
            let now = Instant::now();
            next = now + self.every;
            match measured {
                Ok(measured) => {
                    failed = false;
                    let below = self.wanted.borrow().nodefs_below;
                    let until = until_short(&measured, &self.policy).min(until_below(&measured, below));
                    next = now + until.min(self.every);
                    let is_due = now >= published + self.every;
                    if orders {
                        ordered = Some(now);
                    }
                    if is_due || self.is_awaited(&measured) || self.is_news(&measured) {
                        published = now;
                        self.out.send_replace(Arc::new(measured));
                    }
                }
                Err(error) if !failed => {
                    failed = true;
                    tracing::warn!(%error, "cannot measure the machine; reporting the last measurement");
                }
                Err(_) => {}
            }
        }
    }

    /// Measures; with `orders`, also orders the notices anew for the memory that is left now. The kernel is asked for both in
    /// a thread that may wait.
    async fn measure(&self, orders: bool, notices: &mut Notices) -> Result<Measured, MachineError> {
        let (places, policy) = (self.places.clone(), orders.then(|| self.policy.clone()));
        let before = std::mem::take(notices);
        let work = move || {
            let measured = places.measure();
            let ordered = measured.as_ref().ok().zip(policy);
            let after = ordered.map(|(measured, policy)| places.order(&policy, measured));
            (measured, after.unwrap_or(before))
        };
        let (measured, after) = tokio::task::spawn_blocking(work)
            .await
            .expect("measuring does not panic");
        *notices = after;
        measured
    }

    /// Asks a runtime that did not answer at the start.
    async fn ask_where(&mut self) {
        if self.places.images.is_none()
            && let Ok(dirs) = tokio::time::timeout(PATIENCE, self.runtime.disk_dirs()).await
        {
            (self.places.images, self.places.containers) = dirs;
        }
    }

    /// Whether loop 1 waits for a measurement like this one.
    fn is_awaited(&mut self, measured: &Measured) -> bool {
        let wanted = self.wanted.borrow_and_update().clone();
        let last = self.out.borrow();
        let is_fresh = |since| last.at >= since && last.at <= measured.at;
        let is_wanted = wanted.machine_since.is_some_and(|since| !is_fresh(since));
        let is_below = |measured: &Measured| {
            let below = wanted.nodefs_below;
            below.is_some_and(|below| measured.nodefs.available < below)
        };
        is_wanted || is_below(measured) && !is_below(&last)
    }

    /// Whether other thresholds are crossed than was published.
    fn is_news(&self, measured: &Measured) -> bool {
        let before = self.out.borrow();
        let mut thresholds = self.policy.thresholds.iter();
        thresholds.any(|threshold| measured.crosses(threshold) != before.crosses(threshold))
    }
}

impl Notices {
    /// Waits for one of them; for ever if there is none.
    async fn given(&self) {
        // Both only wait.
        tokio::select! {
            () = one(self.machine.as_ref()) => {}
            () = one(self.pods.as_ref()) => {}
        }
    }
}

async fn one(notice: Option<&MemoryNotice>) {
    match notice {
        Some(notice) if notice.given().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

/// How long it takes at least until the node's disk has less than that, if it has more.
fn until_below(measured: &Measured, below: Option<Bytes>) -> Duration {
    let left = below.map(|below| measured.nodefs.available.0.saturating_sub(below.0));
    let left = left.and_then(|left| u64::try_from(left).ok());
    left.map_or(Duration::MAX, |left| time_of(left, BYTES_PER_SECOND))
        .max(SHORTEST)
}

fn time_of(left: u64, rate: i64) -> Duration {
    let millis = u128::from(left) * 1000 / u128::from(rate.unsigned_abs());
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// How long it takes at least until a threshold can be crossed that is not.
fn until_short(measured: &Measured, policy: &EvictionPolicy) -> Duration {
    let times = policy.thresholds.iter().filter_map(|threshold| {
        let room = measured.room(threshold.signal)?;
        let left = room.available.saturating_sub(threshold.value.of(room.capacity));
        let rate = match threshold.signal.starved() {
            Starved::Memory | Starved::Storage => BYTES_PER_SECOND,
            Starved::Inodes => INODES_PER_SECOND,
            Starved::Pids => PROCESSES_PER_SECOND,
        };
        Some(time_of(u64::try_from(left).ok()?, rate))
    });
    times
        .min()
        .unwrap_or(Duration::MAX)
        .clamp(SHORTEST, Duration::from_secs(3600))
}

/// What is left of the memory that all pods together may use.
fn pods_memory(cgroups: &Cgroups) -> Option<Available> {
    let path = cgroups.pod_parents().into_iter().next()?;
    let mut reader = cgroups.usage_reader();
    let cgroup = reader.open(&path)?;
    let activity = reader.activity(&cgroup)?;
    let usage = reader.usage(&cgroup, activity, None);
    let memory = reader.with_limits(&cgroup, usage).memory?;
    let capacity = i64::try_from(memory.limits.memory?).ok()?;
    let used = i64::try_from(memory.working_set).unwrap_or(i64::MAX);
    Some(Available {
        available: capacity.saturating_sub(used),
        capacity,
    })
}

/// The capacity of the path's file system.
pub fn file_system(path: &Path) -> Result<FsUsage, MachineError> {
    let stat = nix::sys::statvfs::statvfs(path).map_err(|errno| MachineError::FileSystem {
        path: path.to_owned(),
        source: errno.into(),
    })?;
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let bytes = |blocks: u64| Bytes(signed(blocks.saturating_mul(stat.fragment_size())));
    Ok(FsUsage {
        capacity: bytes(stat.blocks()),
        available: bytes(stat.blocks_available()),
        inodes: signed(stat.files()),
        inodes_free: signed(stat.files_free()),
    })
}

/// Capacity minus the working set of all processes: the memory in use without inactive file pages, which can be
/// reclaimed at once.
fn memory_available(root: &Path, capacity: Bytes) -> Result<Bytes, MachineError> {
    let v1 = "sys/fs/cgroup/memory/memory.usage_in_bytes";
    let (usage, inactive) = match machine::text(root, v1) {
        Ok(usage) => {
            let stat = machine::text(root, "sys/fs/cgroup/memory/memory.stat")?;
            let usage = usage.trim().parse().map_err(|_| MachineError::Missing {
                path: root.join(v1),
                what: "a number",
            })?;
            (usage, value(&stat, "total_inactive_file"))
        }
        // The root of cgroup v2 has no usage file; the usage is anonymous memory plus file memory.
        Err(_) => {
            let stat = machine::text(root, "sys/fs/cgroup/memory.stat")?;
            (
                value(&stat, "anon") + value(&stat, "file"),
                value(&stat, "inactive_file"),
            )
        }
    };
    let working_set = (usage - inactive).max(0);
    Ok(Bytes((capacity.0 - working_set).max(0)))
}

/// The number after `name ` at the start of a line; 0 where the kernel does not count it.
fn value(stat: &str, name: &str) -> i64 {
    let number = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    stat.lines().find_map(number).unwrap_or(0)
}

/// The kernel stops at whichever comes first.
fn pids_max(root: &Path) -> Result<i64, MachineError> {
    let limit = |path: &str| {
        machine::text(root, path)?
            .trim()
            .parse::<i64>()
            .map_err(|_| MachineError::Missing {
                path: root.join(path),
                what: "a number",
            })
    };
    Ok(limit("proc/sys/kernel/pid_max")?.min(limit("proc/sys/kernel/threads-max")?))
}

/// Processes and threads: the second number of `1.36 3.49 4.53 2/3518 3715089`.
fn pids_used(root: &Path) -> Result<i64, MachineError> {
    let path = "proc/loadavg";
    let text = machine::text(root, path)?;
    let count = text
        .split_whitespace()
        .nth(3)
        .and_then(|tasks| tasks.split_once('/')?.1.parse().ok());
    count.ok_or_else(|| MachineError::Missing {
        path: root.join(path),
        what: "the number of tasks",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::machine::tests::machine;

    const COMMON: [(&str, &str); 4] = [
        ("proc/meminfo", "MemTotal:       1000 kB\n"),
        ("proc/sys/kernel/pid_max", "4194304\n"),
        ("proc/sys/kernel/threads-max", "32000\n"),
        ("proc/loadavg", "1.36 3.49 4.53 2/3518 3715089\n"),
    ];

    fn places(root: &Path, root_dir: &Path, images: Option<&Path>) -> Places {
        Places {
            root: root.to_owned(),
            root_dir: root_dir.to_owned(),
            images: images.map(Path::to_owned),
            containers: None,
            cgroups: None,
        }
    }

    fn check(files: &[(&str, &str)], available: i64) {
        let root = machine(&[&COMMON, files].concat());
        let absent = root.path().join("absent");
        let measured = places(root.path(), root.path(), Some(&absent)).measure().unwrap();
        assert_eq!(measured.memory, Bytes(1000 * 1024));
        assert_eq!(measured.memory_available, Bytes(available * 1024));
        assert_eq!((measured.pids_max, measured.pids_used), (32000, 3518));
        assert_eq!(measured.imagefs, None);
        assert!(measured.nodefs.capacity >= measured.nodefs.available);
    }

    #[test]
    fn on_v1() {
        check(
            &[
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "512000\n"),
                (
                    "sys/fs/cgroup/memory/memory.stat",
                    "inactive_file 1\ntotal_inactive_file 102400\n",
                ),
            ],
            600,
        );
        // The two are read one after the other and may contradict each other.
        check(
            &[
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1024\n"),
                ("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 2048\n"),
            ],
            1000,
        );
    }

    #[test]
    fn on_v2() {
        check(
            &[(
                "sys/fs/cgroup/memory.stat",
                "anon 204800\nfile 409600\ninactive_file 307200\n",
            )],
            700,
        );
    }

    #[test]
    fn this_machine() {
        let root = Path::new("/");
        let measured = places(root, root, Some(root)).measure().unwrap();
        assert_eq!(measured.disks, DiskLayout::Shared);
        assert!(measured.memory_available > Bytes(0));
        assert!(measured.pids_used > 0 && measured.pids_max > measured.pids_used);
        assert_eq!(measured.imagefs.unwrap().capacity, measured.nodefs.capacity);
    }

    #[test]
    fn the_closer_a_threshold_is_the_sooner_it_is_looked_at() {
        use crate::model::eviction::EvictionThreshold;
        use crate::model::threshold::Threshold;
        let check = |signal, available: i64, expected: u64| {
            let fs = FsUsage {
                capacity: Bytes(100 << 30),
                available: Bytes(available),
                inodes: 10_000_000,
                inodes_free: available,
            };
            let measured = Measured {
                nodefs: fs,
                ..Measured::default()
            };
            let policy = EvictionPolicy {
                thresholds: vec![EvictionThreshold {
                    signal,
                    value: Threshold::Quantity(1 << 20),
                    grace: Duration::ZERO,
                    reclaim: None,
                }],
                ..EvictionPolicy::default()
            };
            assert_eq!(until_short(&measured, &policy), Duration::from_millis(expected));
        };
        check(Signal::Nodefs, (1 << 20) + (4 << 30), 2000);
        check(Signal::Nodefs, (1 << 20) + (1 << 20), 250);
        check(Signal::NodefsInodes, (1 << 20) + 600_000, 3000);
        // What is short already is measured when pods have gone, else as usual.
        check(Signal::Nodefs, 5, 3_600_000);
    }

    #[test]
    fn a_missing_path_is_named() {
        let error = file_system(Path::new("/no/such/path")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read the capacity of the file system of /no/such/path"
        );
    }
}
