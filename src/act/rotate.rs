//! Rotation of container logs, as in the kubelet (`pkg/kubelet/logs/container_log_manager.go`): log shippers know its
//! file names. A log that has grown too large is renamed to `<log>.<local time>`, the runtime reopens the log, and the
//! file renamed the time before is compressed; the newest one stays uncompressed, so that a shipper can finish reading
//! it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Zoned;
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{error, info};

use crate::model::error_chain::chain;
use crate::model::runtime::{ContainerState, Snapshot};

const COMPRESSED: &str = ".gz";
const UNFINISHED: &str = ".tmp";

/// A rotation that takes longer leaves its place to another log; its own log waits until it ends.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many places are left like that at once at most: each may hold a thread.
const MOST_STUCK: usize = 16;

/// When a log is rotated, and how many files remain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// `containerLogMaxSize`, 10 MiB. If it is negative, there is no rotation, and this task is not started.
    pub max_bytes: u64,
    /// `containerLogMaxFiles`, 5, the current one included; at least 2.
    pub max_files: usize,
    /// `containerLogMonitorInterval`, 10 s.
    pub interval: Duration,
    /// `containerLogMaxWorkers`, 1: so many logs are rotated at once.
    pub workers: usize,
}

/// Why a log was not rotated. Retried at the next check.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum RotateError {
    #[error("cannot inspect {}", .0.display())]
    Look(PathBuf, #[source] io::Error),
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    #[error("cannot remove the old log {}", .0.display())]
    Remove(PathBuf, #[source] io::Error),
    #[error("cannot compress {}", .0.display())]
    Compress(PathBuf, #[source] io::Error),
    #[error("cannot rename {}", .0.display())]
    Rename(PathBuf, #[source] io::Error),
    #[error("the container runtime failed to reopen the log of container {0}")]
    Reopen(String, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Checks the logs of running containers each interval, for ever, and rotates as many at once as there are workers. One
/// that hangs, because its file system or the runtime does, holds up no other for long. `reopen` is CRI's ReopenContainerLog, by container
/// ID. If it is canceled between renaming and reopening, the next check finds the log missing and reopens it.
pub async fn run<F, R, E>(snapshot: watch::Receiver<Arc<Snapshot>>, rotation: Rotation, reopen: F)
where
    F: Fn(String) -> R,
    R: Future<Output = Result<(), E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut ticks = interval(rotation.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut looking, mut rotating) = (FuturesUnordered::new(), FuturesUnordered::new());
    let mut queue = Queue::default();
    let work = |(id, log): (String, Result<Due, RotateError>)| {
        let reopen = &reopen;
        async move {
            let result = match log {
                Ok(log) => rotate(&id, &log, rotation, &Zoned::now(), reopen).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                error!(
                    container = id,
                    error = chain(&error),
                    "cannot rotate the container log"
                );
            }
            id
        }
    };
    loop {
        // Each arm may be canceled: what is unfinished stays in its set.
        tokio::select! {
            _ = ticks.tick() => if looking.is_empty() {
                let logs = running_logs(&snapshot.borrow());
                looking.push(look(logs, rotation.max_bytes));
            },
            Some(due) = looking.next(), if !looking.is_empty() => queue.fill(due),
            Some(id) = rotating.next(), if !rotating.is_empty() => queue.ended(id),
        }
        while let Some(next) = queue.next(rotation.workers, Instant::now()) {
            rotating.push(work(next));
        }
    }
}

/// The logs that need work, and those that are being worked on.
#[derive(Default)]
struct Queue {
    due: VecDeque<(String, Result<Due, RotateError>)>,
    /// By container ID, since when.
    busy: BTreeMap<String, Instant>,
}

impl Queue {
    /// Takes in what a look has found, which replaces what the one before it found.
    fn fill(&mut self, due: Vec<(String, Result<Due, RotateError>)>) {
        self.due = due.into();
        self.due.retain(|(id, _)| !self.busy.contains_key(id));
    }

    /// The next log, if a worker is free.
    fn next(&mut self, workers: usize, now: Instant) -> Option<(String, Result<Due, RotateError>)> {
        let is_stuck = |since: &&Instant| now.saturating_duration_since(**since) >= PATIENCE;
        let stuck = self.busy.values().filter(is_stuck).count();
        if self.busy.len() >= workers.max(1) + stuck.min(MOST_STUCK) {
            return None;
        }
        let next = self.due.pop_front()?;
        self.busy.insert(next.0.clone(), now);
        Some(next)
    }

    fn ended(&mut self, id: String) {
        self.busy.remove(&id);
    }
}

/// Only running containers: others write nothing more, and an empty newest log is of no use.
fn running_logs(snapshot: &Snapshot) -> Vec<(String, PathBuf)> {
    let pods = snapshot.pods.values().flat_map(|name| name.uids.values());
    pods.flat_map(|pod| &pod.containers)
        .filter(|container| matches!(container.state, ContainerState::Running { .. }))
        .filter(|container| !container.log_path.is_empty())
        .map(|container| (container.id.clone(), container.log_path.clone().into()))
        .collect()
}

/// A log that needs work.
enum Due {
    /// The log is too large.
    Rotate(PathBuf),
    /// The log is missing: an earlier rotation was interrupted, or the file was removed.
    Missing,
}

/// One stat each, in a thread that may block on the disk.
async fn look(logs: Vec<(String, PathBuf)>, max_bytes: u64) -> Vec<(String, Result<Due, RotateError>)> {
    let look = spawn_blocking(move || {
        let due = |log: &Path| is_due(log, max_bytes).transpose();
        logs.into_iter()
            .filter_map(|(id, log)| Some((id, due(&log)?)))
            .collect()
    });
    look.await.unwrap_or_default()
}

fn is_due(log: &Path, max_bytes: u64) -> Result<Option<Due>, RotateError> {
    match fs::symlink_metadata(log) {
        Ok(found) if !found.is_file() => Err(RotateError::NotAFile(log.to_owned())),
        Ok(found) => Ok((found.len() >= max_bytes).then(|| Due::Rotate(log.to_owned()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Due::Missing)),
        Err(error) => Err(RotateError::Look(log.to_owned(), error)),
    }
}

async fn rotate<F, R, E>(
    id: &str,
    due: &Due,
    rotation: Rotation,
    now: &Zoned,
    reopen: &F,
) -> Result<(), RotateError>
where
    F: Fn(String) -> R,
    R: Future<Output = Result<(), E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let reopen = async || {
        reopen(id.to_owned())
            .await
            .map_err(|error| RotateError::Reopen(id.to_owned(), error.into()))
    };
    let log = match due {
        Due::Missing => return reopen().await,
        Due::Rotate(log) => log.clone(),
    };
    let set_aside = log_with(&log, &now.strftime("%Y%m%d-%H%M%S").to_string());
    let (from, to) = (log.clone(), set_aside.clone());
    let prepared = spawn_blocking(move || {
        clear_and_compress(&from, rotation.max_files)?;
        rename(&from, &to)
    });
    prepared
        .await
        .map_err(|error| RotateError::Rename(log.clone(), error.into()))??;
    if let Err(error) = reopen().await {
        // Retried later. If the runtime has created a new log in spite of its error, both stay.
        if let Err(error) = rename(&set_aside, &log) {
            error!(
                container = id,
                error = chain(&error),
                "cannot move the rotated log back"
            );
        }
        return Err(error);
    }
    info!(container = id, log = %log.display(), "container log rotated");
    Ok(())
}

/// Never overwrites an existing file: its content would be lost.
fn rename(from: &Path, to: &Path) -> Result<(), RotateError> {
    renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE)
        .map_err(|errno| RotateError::Rename(from.to_owned(), errno.into()))
}

fn log_with(log: &Path, suffix: &str) -> PathBuf {
    let mut path = log.as_os_str().to_owned();
    path.push(".");
    path.push(suffix);
    path.into()
}

/// Removes files that are unfinished or too old, and compresses the rest.
fn clear_and_compress(log: &Path, max_files: usize) -> Result<(), RotateError> {
    let plan = clearance(&beside(log)?, max_files);
    for suffix in plan.remove {
        let path = log_with(log, &suffix);
        fs::remove_file(&path).map_err(|error| RotateError::Remove(path, error))?;
    }
    for suffix in plan.compress {
        let path = log_with(log, &suffix);
        compress(&path).map_err(|error| RotateError::Compress(path, error))?;
    }
    Ok(())
}

/// The suffixes after `<log>.` of the files beside it.
fn beside(log: &Path) -> Result<BTreeSet<String>, RotateError> {
    let look_error = |error| RotateError::Look(log.to_owned(), error);
    let dir = log.parent().unwrap_or(Path::new("/"));
    let name = log.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut suffixes = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(look_error)? {
        let entry = entry.map_err(look_error)?.file_name();
        let suffix = entry
            .to_str()
            .and_then(|entry| entry.strip_prefix(name)?.strip_prefix('.'));
        suffixes.extend(suffix.map(str::to_owned));
    }
    Ok(suffixes)
}

#[derive(Debug, PartialEq, Eq)]
struct Clearance {
    remove: Vec<String>,
    compress: Vec<String>,
}

/// Which of the rotated files are removed before the next rotation. The oldest go first, so as not to disturb readers.
/// With the log and its successor, `max_files` remain.
fn clearance(suffixes: &BTreeSet<String>, max_files: usize) -> Clearance {
    let unused = |suffix: &String| {
        suffix.ends_with(UNFINISHED)
            || !suffix.ends_with(COMPRESSED) && suffixes.contains(&format!("{suffix}{COMPRESSED}"))
    };
    let (mut remove, used): (Vec<String>, Vec<String>) = suffixes.iter().cloned().partition(unused);
    let excess = used.len().saturating_sub(max_files.saturating_sub(2));
    remove.extend_from_slice(&used[..excess]);
    let plain = |suffix: &&String| !suffix.ends_with(COMPRESSED);
    Clearance {
        remove,
        compress: used[excess..].iter().filter(plain).cloned().collect(),
    }
}

/// Compresses `<path>` to `<path>.gz`, with the same mode. If interrupted, it leaves a `.tmp`, which the next run
/// removes.
fn compress(path: &Path) -> io::Result<()> {
    let mut from = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)?;
    let found = from.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mode = found.permissions().mode();
    let unfinished = log_with(path, &UNFINISHED[1..]);
    let to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&unfinished)?;
    let compressed =
        compress_into(&mut from, to).and_then(|()| fs::rename(&unfinished, log_with(path, &COMPRESSED[1..])));
    if let Err(error) = compressed {
        // The first error is the one to report; the next run removes the file, too.
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    fs::remove_file(path)
}

fn compress_into(from: &mut File, to: File) -> io::Result<()> {
    let mut encoder = GzEncoder::new(to, Compression::default());
    io::copy(from, &mut encoder)?;
    encoder.finish().map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Mutex;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::model::pod::{PodName, PodUid};
    use crate::model::runtime::{ObservedContainer, ObservedName, ObservedPod};

    const ROTATION: Rotation = Rotation {
        max_bytes: 4,
        max_files: 5,
        interval: Duration::from_secs(10),
        workers: 1,
    };

    fn check(before: &[&str], max_files: usize, remove: &[&str], compress: &[&str]) {
        let suffixes = before.iter().map(|s| (*s).to_owned()).collect();
        let own = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect();
        assert_eq!(
            clearance(&suffixes, max_files),
            Clearance {
                remove: own(remove),
                compress: own(compress)
            }
        );
    }

    #[test]
    fn the_oldest_and_the_unfinished_go_and_the_rest_is_compressed() {
        check(&[], 5, &[], &[]);
        check(&["1"], 5, &[], &["1"]);
        check(&["1.gz", "2.gz", "3"], 5, &[], &["3"]);
        check(&["1.gz", "2.gz", "3.gz", "4"], 5, &["1.gz"], &["4"]);
        check(&["1.gz", "2", "2.tmp", "3"], 5, &["2.tmp"], &["2", "3"]);
        check(&["1", "1.gz", "2"], 5, &["1"], &["2"]);
        check(&["1.gz", "2"], 2, &["1.gz", "2"], &[]);
        check(&["1.gz", "2"], 3, &["1.gz"], &["2"]);
    }

    fn at(second: u32) -> Zoned {
        let time: jiff::Timestamp = format!("2026-11-21T01:00:{second:02}Z").parse().unwrap();
        time.to_zoned(jiff::tz::TimeZone::UTC)
    }

    fn container(id: &str, state: ContainerState, log: &Path) -> ObservedContainer {
        ObservedContainer {
            id: id.to_owned(),
            name: id.to_owned(),
            sandbox: String::new(),
            restart_count: 0,
            hash: 0,
            grace_seconds: None,
            termination_path: String::new(),
            created: at(0).timestamp(),
            state,
            image: String::new(),
            image_ref: String::new(),
            mounted_images: Vec::new(),
            log_path: log.to_str().unwrap().to_owned(),
            resources: None,
            user: None,
            pre_stop: None,
            stop_signal: None,
            health: None,
        }
    }

    fn snapshot(containers: Vec<ObservedContainer>) -> Arc<Snapshot> {
        let pod = ObservedPod {
            containers,
            ..ObservedPod::default()
        };
        let uids = [(PodUid("u".to_owned()), pod)].into();
        let name = PodName::new("default", "web");
        Arc::new(Snapshot {
            pods: [(name, Arc::new(ObservedName { uids }))].into(),
            ..Snapshot::default()
        })
    }

    struct Logs {
        temp: tempfile::TempDir,
    }

    impl Logs {
        fn new() -> Self {
            Logs {
                temp: tempfile::tempdir().unwrap(),
            }
        }

        fn log(&self) -> PathBuf {
            self.temp.path().join("0.log")
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.temp.path()).unwrap();
            let mut names: Vec<_> = entries
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }

        /// Rotates at this second, with a runtime that creates a new log.
        async fn rotate(&self, second: u32) {
            let reopen = |_: String| async { fs::write(self.log(), "new!").map_err(Box::new) };
            rotate("c1", &Due::Rotate(self.log()), ROTATION, &at(second), &reopen)
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn five_files_remain_the_newest_two_plain() {
        let logs = Logs::new();
        fs::write(logs.log(), "the first").unwrap();
        fs::set_permissions(logs.log(), fs::Permissions::from_mode(0o640)).unwrap();
        logs.rotate(1).await;
        assert_eq!(logs.names(), ["0.log", "0.log.20261121-010001"]);
        logs.rotate(2).await;
        let first = logs.temp.path().join("0.log.20261121-010001.gz");
        let mut text = String::new();
        GzDecoder::new(File::open(&first).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "the first");
        assert_eq!(fs::metadata(&first).unwrap().permissions().mode() & 0o777, 0o640);
        for second in 3..7 {
            logs.rotate(second).await;
        }
        assert_eq!(
            logs.names(),
            [
                "0.log",
                "0.log.20261121-010003.gz",
                "0.log.20261121-010004.gz",
                "0.log.20261121-010005.gz",
                "0.log.20261121-010006"
            ]
        );
    }

    #[tokio::test]
    async fn a_log_that_the_runtime_does_not_reopen_is_put_back() {
        let logs = Logs::new();
        fs::write(logs.log(), "all of it").unwrap();
        let reopen = |_: String| async { Err::<(), _>("no") };
        let error = rotate("c1", &Due::Rotate(logs.log()), ROTATION, &at(0), &reopen)
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the container runtime failed to reopen the log of container c1"
        );
        assert_eq!(logs.names(), ["0.log"]);
        assert_eq!(fs::read_to_string(logs.log()).unwrap(), "all of it");
    }

    #[test]
    fn a_link_is_neither_rotated_nor_read() {
        let logs = Logs::new();
        std::os::unix::fs::symlink("/proc/self/environ", logs.log()).unwrap();
        assert!(matches!(is_due(&logs.log(), 0), Err(RotateError::NotAFile(_))));
        assert!(compress(&logs.log()).is_err());
        assert_eq!(logs.names(), ["0.log"]);
    }

    #[tokio::test(start_paused = true)]
    async fn running_containers_are_looked_after_and_missing_logs_reopened() {
        let logs = Logs::new();
        let path = |name: &str| logs.temp.path().join(name);
        for (name, text) in [("large", "12345"), ("small", "123"), ("ended", "12345")] {
            fs::write(path(name), text).unwrap();
        }
        let runs = || ContainerState::Running {
            started: at(0).timestamp(),
        };
        let all = vec![
            container("a", runs(), &path("large")),
            container("b", runs(), &path("small")),
            container("c", ContainerState::Unknown, &path("ended")),
            container("d", runs(), &path("missing")),
        ];
        let (_sender, snapshot) = watch::channel(snapshot(all));
        let reopened = Arc::new(Mutex::new(Vec::new()));
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let seen = reopened.clone();
        let reopen = move |id: String| {
            seen.lock().unwrap().push(id.clone());
            sender.send(()).unwrap();
            async { Ok::<(), &str>(()) }
        };
        let task = tokio::spawn(run(snapshot, ROTATION, reopen));
        receiver.recv().await.unwrap();
        receiver.recv().await.unwrap();
        assert_eq!(*reopened.lock().unwrap(), ["a", "d"]);
        task.abort();
        let names = logs.names();
        assert_eq!(
            names.iter().filter(|name| name.starts_with("large.")).count(),
            1,
            "{names:?}"
        );
        assert!(!names.contains(&"large".to_owned()) && names.contains(&"ended".to_owned()));
    }

    /// Logs of these containers that are missing, so that each is reopened; the IDs in the order of that. Reopening
    /// `hangs` never ends.
    fn reopening(
        workers: usize,
        ids: &[&str],
        hangs: &'static [&'static str],
    ) -> (
        tokio::sync::mpsc::UnboundedReceiver<String>,
        tokio::task::JoinHandle<()>,
    ) {
        let runs = || ContainerState::Running {
            started: at(0).timestamp(),
        };
        let missing = Path::new("/nonexistent/0.log");
        let containers = ids.iter().map(|id| container(id, runs(), missing)).collect();
        let (stays, snapshot) = watch::channel(snapshot(containers));
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let reopen = move |id: String| {
            let hangs = hangs.contains(&id.as_str());
            sender.send(id).unwrap();
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Ok::<(), &str>(())
            }
        };
        let rotation = Rotation { workers, ..ROTATION };
        let task = tokio::spawn(async move {
            run(snapshot, rotation, reopen).await;
            drop(stays);
        });
        (receiver, task)
    }

    /// The IDs that come within that time.
    async fn within(
        receiver: &mut tokio::sync::mpsc::UnboundedReceiver<String>,
        time: Duration,
    ) -> Vec<String> {
        let (mut ids, end) = (Vec::new(), Instant::now() + time);
        while let Ok(Some(id)) = tokio::time::timeout_at(end, receiver.recv()).await {
            ids.push(id);
        }
        ids
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_logs_are_rotated_at_once_as_there_are_workers() {
        let short = PATIENCE / 2;
        for (workers, begun) in [(1, 1), (3, 3), (9, 4)] {
            let (mut ids, task) = reopening(workers, &["a", "b", "c", "d"], &["a", "b", "c", "d"]);
            assert_eq!(within(&mut ids, short).await.len(), begun, "{workers}");
            task.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotation_that_hangs_holds_only_its_own_log() {
        // One of two workers hangs: the other one does the rest.
        let (mut ids, task) = reopening(2, &["a", "b", "c"], &["a"]);
        let first = within(&mut ids, ROTATION.interval / 2).await;
        assert_eq!(first, ["a", "b", "c"]);
        task.abort();
        // The only one hangs: after a while others have their turn, and it is not begun again.
        let (mut ids, task) = reopening(1, &["a", "b", "c"], &["a"]);
        assert_eq!(within(&mut ids, PATIENCE / 2).await, ["a"]);
        let later = within(&mut ids, PATIENCE).await;
        assert!(later.starts_with(&["b".to_owned(), "c".to_owned()]), "{later:?}");
        assert!(!later.contains(&"a".to_owned()), "{later:?}");
        task.abort();
    }
}
