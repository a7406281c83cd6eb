//! What pods and the node keep on disks. Like the samples it is read on request, and remembered: file systems for as
//! long as a sample, the runtime's own numbers and the directories of pods for a minute, as in the kubelet
//! (`volumeStatsAggPeriod`). A directory whose count took long is counted again only after ten times as long, unless its
//! file system counts it (`quota`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::HOUSEKEEPING;
use super::directories::{self, Directories, KnownVolumes, Quotas};
use super::quota::Source;
use super::sampler::Stopped;
use super::volume::{REST, Trust};
use crate::bulkhead::{Bulkhead, Limits, Stuck};
use crate::counters::Counters;
use crate::cri::{CriError, Runtime};
use crate::model::last_logged::LastLogged;
use crate::model::measured::Measured;
use crate::model::pod::PodUid;
use crate::model::stats::{DirectoryUsage, ImageStorage, NodeSample, PodStorage, Storage};

/// How long an answer waits for numbers that are being read; after that it has the last ones.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the runtime may take: the numbers of the disks do not wait for it.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(5);
/// For how long the numbers of directories and of the runtime are remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How long the directories of one pod may take.
pub(super) const LONGEST_COUNT: Duration = Duration::from_secs(30);
/// Counts that have not returned: of all pods, and of one.
const COUNTS: Limits = Limits {
    total: 8,
    per_owner: 1,
};
/// The lowest priority of a thread (setpriority(2), which on Linux is about threads).
const LAST: i32 = 19;
/// How many may wait for an answer.
const WAITING: usize = 64;

/// Where this machine's files are.
#[derive(Clone)]
pub struct StoragePlace {
    /// The node's own directory (`/var/lib/kubelet`).
    pub root: PathBuf,
    /// The directory of the pods' logs (`/var/log/pods`).
    pub logs: PathBuf,
    /// Whether project quotas are asked.
    pub quotas: Quotas,
    /// The container runtime, which knows its images and layers.
    pub runtime: Runtime,
    /// How many processes there are, as last measured.
    pub measured: watch::Receiver<Arc<Measured>>,
    /// Counts how long directories take.
    pub counters: Arc<Counters>,
}

#[derive(Debug)]
struct Request {
    sample: Arc<NodeSample>,
    max_age: Duration,
    walked: BTreeSet<PodUid>,
    answer: oneshot::Sender<Arc<Storage>>,
}

/// Asks what is kept on disks.
#[derive(Debug, Clone)]
pub struct StorageHandle(mpsc::Sender<Request>);

impl StorageHandle {
    /// What is kept on disks for the pods of this sample, as it is remembered for answers to callers. Numbers that take
    /// longer than a second to read are those of the last time, or absent.
    pub async fn get(&self, sample: &Arc<NodeSample>) -> Result<Arc<Storage>, Stopped> {
        self.get_within(sample, HOUSEKEEPING, BTreeSet::new()).await
    }

    /// The same, at most that old where it does not take long to count. No quota is believed about the volumes of these
    /// pods.
    pub async fn get_within(
        &self,
        sample: &Arc<NodeSample>,
        max_age: Duration,
        walked: BTreeSet<PodUid>,
    ) -> Result<Arc<Storage>, Stopped> {
        let (answer, answered) = oneshot::channel();
        let request = Request {
            max_age,
            walked,
            sample: Arc::clone(sample),
            answer,
        };
        self.0.send(request).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }
}

/// The requests of a collector that is still to run.
#[derive(Debug)]
pub struct StorageRequests(mpsc::Receiver<Request>);

/// The two ends.
pub fn storage_requests() -> (StorageHandle, StorageRequests) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (StorageHandle(sender), StorageRequests(receiver))
}

/// Answers every request with this.
#[cfg(test)]
pub(crate) fn answering(storage: Storage) -> StorageHandle {
    let (handle, mut requests) = storage_requests();
    let storage = Arc::new(storage);
    std::thread::spawn(move || {
        while let Some(request) = requests.0.blocking_recv() {
            let _ = request.answer.send(Arc::clone(&storage));
        }
    });
    handle
}

/// Those who wait for numbers that are being read.
type Waiting = Vec<(Instant, oneshot::Sender<Arc<Storage>>)>;

/// Reads when asked, until canceled.
pub async fn run_storage(place: StoragePlace, mut requests: StorageRequests, cancel: CancellationToken) {
    let mut last: Option<(Instant, Arc<Storage>)> = None;
    let mut resting = Some(Collector::new(place));
    let mut reading: Option<JoinHandle<(Collector, Storage)>> = None;
    let mut waiting: Waiting = Vec::new();
    loop {
        let overdue = waiting.first().map(|(until, _)| *until);
        tokio::select! {
            // All are cancel-safe: a request stays in its channel, the reading goes on.
            request = requests.0.recv() => {
                let Some(Request { sample, max_age, walked, answer }) = request else { return };
                let is_fresh = |at: &Instant| at.elapsed() <= max_age && walked.is_empty();
                if let Some((_, fresh)) = last.as_ref().filter(|(at, _)| is_fresh(at)) {
                    // It fails if the request was dropped, here and below.
                    let _ = answer.send(Arc::clone(fresh));
                    continue;
                }
                if let Some(collector) = resting.take() {
                    reading = Some(tokio::spawn(collector.collect(sample, max_age, walked)));
                }
                waiting.push((Instant::now() + PATIENCE, answer));
            }
            done = next(&mut reading) => {
                reading = None;
                let Ok((collector, storage)) = done else { return };
                resting = Some(collector);
                let storage = Arc::new(storage);
                last = Some((Instant::now(), Arc::clone(&storage)));
                for (_, answer) in waiting.drain(..) {
                    let _ = answer.send(Arc::clone(&storage));
                }
            }
            () = until(overdue) => {
                let known = last.as_ref().map(|(_, storage)| Arc::clone(storage)).unwrap_or_default();
                let (_, answer) = waiting.remove(0);
                let _ = answer.send(known);
            }
            () = cancel.cancelled() => return,
        }
    }
}

async fn next(
    reading: &mut Option<JoinHandle<(Collector, Storage)>>,
) -> Result<(Collector, Storage), tokio::task::JoinError> {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What is remembered between two readings.
struct Collector {
    place: StoragePlace,
    counts: Bulkhead,
    runtime: Option<(Instant, OfRuntime)>,
    pods: BTreeMap<PodUid, Counted>,
    failures: LastLogged<String>,
}

/// The runtime's own numbers.
#[derive(Clone, Default)]
struct OfRuntime {
    /// The directory of the images, and what they take.
    images: Option<(PathBuf, DirectoryUsage)>,
    layers: BTreeMap<String, DirectoryUsage>,
}

/// The directories of a pod.
struct Counted {
    /// When that was last tried.
    counted: Option<Instant>,
    /// Until when it rests, because it took long.
    rests: Instant,
    directories: Directories,
    /// A count that does not return in time keeps it; there is one at a time.
    volumes: Arc<Mutex<KnownVolumes>>,
}

impl Counted {
    /// Takes in what a count has brought.
    fn take(&mut self, uid: &str, counted: Result<directories::Counted, Stuck>, counters: &Counters) {
        match counted {
            Ok(counted) => {
                for (source, took) in &counted.measured {
                    match source {
                        Source::Quota => counters.volumes.asked(*took),
                        Source::Walk => counters.volumes.walked(*took),
                    }
                }
                self.counted = Some(Instant::now());
                self.rests = Instant::now() + counted.expected * REST;
                self.directories = counted.or(&self.directories);
            }
            Err(stuck) => {
                tracing::debug!(uid, error = %stuck, "cannot count the pod's directories");
                let took = match stuck {
                    Stuck::Late { patience, .. } => patience,
                    _ => Duration::ZERO,
                };
                self.counted = Some(Instant::now());
                self.rests = Instant::now() + took * REST;
            }
        }
    }
}

impl Collector {
    fn new(place: StoragePlace) -> Collector {
        Collector {
            place,
            counts: Bulkhead::new("directory counts", COUNTS),
            runtime: None,
            pods: BTreeMap::new(),
            failures: LastLogged::default(),
        }
    }

    async fn collect(
        mut self,
        sample: Arc<NodeSample>,
        max_age: Duration,
        walked: BTreeSet<PodUid>,
    ) -> (Collector, Storage) {
        // What is for answers is remembered longer.
        let remembered = match max_age < HOUSEKEEPING {
            true => max_age,
            false => REMEMBERED,
        };
        let runtime = self.of_runtime(remembered).await;
        self.pods
            .retain(|uid, _| sample.pods.iter().any(|pod| pod.uid == *uid));
        self.count_due(&sample, remembered, &walked).await;
        let (root, images) = (self.place.root.clone(), runtime.images.clone());
        let filesystems = tokio::task::spawn_blocking(move || {
            let images = images.and_then(|(directory, own)| {
                let filesystem = directories::filesystem(&directory)?;
                Some(ImageStorage { filesystem, own })
            });
            (directories::filesystem(&root), images)
        });
        let (node, images) = filesystems.await.unwrap_or_default();
        let measured = self.place.measured.borrow().clone();
        let pods = sample.pods.iter().map(|pod| {
            let ids = pod.containers.iter().map(|container| &container.id);
            let layers = ids.filter_map(|id| Some((id.clone(), *runtime.layers.get(id)?)));
            let counted = self.pods.get(&pod.uid).map(|counted| counted.directories.clone());
            let counted = counted.unwrap_or_default();
            let storage = PodStorage {
                layers: layers.collect(),
                logs: counted.logs,
                volumes: counted.volumes,
                own_files: counted.own_files,
            };
            (pod.uid.clone(), storage)
        });
        let storage = Storage {
            node,
            images,
            processes: (measured.pids_max > 0)
                .then(|| (Timestamp::now(), measured.pids_used, measured.pids_max)),
            pods: pods.collect(),
        };
        (self, storage)
    }

    /// The runtime's numbers, which it measures itself now and then. While it does not answer, the last ones.
    async fn of_runtime(&mut self, remembered: Duration) -> OfRuntime {
        if let Some((at, known)) = &self.runtime
            && at.elapsed() <= remembered
        {
            return known.clone();
        }
        let answer = tokio::time::timeout(RUNTIME_PATIENCE, self.ask_runtime()).await;
        let failure = match answer {
            Ok(Ok(known)) => {
                self.failures.clear();
                self.runtime = Some((Instant::now(), known));
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {} s", RUNTIME_PATIENCE.as_secs())),
        };
        if let Some(error) = failure
            && self.failures.is_news(&error)
        {
            tracing::warn!(
                error,
                "cannot get the disk usage of images and containers from the runtime"
            );
        }
        self.runtime
            .as_ref()
            .map(|(_, known)| known.clone())
            .unwrap_or_default()
    }

    async fn ask_runtime(&self) -> Result<OfRuntime, CriError> {
        let images = self.place.runtime.image_fs_info().await?.image_filesystems;
        let images = images.into_iter().next().and_then(|filesystem| {
            let count = |value: Option<k8s_cri::v1::UInt64Value>| value.map_or(0, |value| value.value);
            let used = DirectoryUsage {
                bytes: count(filesystem.used_bytes),
                inodes: count(filesystem.inodes_used),
            };
            Some((PathBuf::from(filesystem.fs_id?.mountpoint), used))
        });
        let layers = self.place.runtime.written_layers().await?.into_iter();
        Ok(OfRuntime {
            images,
            layers: layers
                .map(|(id, bytes, inodes)| (id, DirectoryUsage { bytes, inodes }))
                .collect(),
        })
    }

    /// Counts the directories of the pods for which it is time. What cannot be counted keeps its last numbers.
    async fn count_due(&mut self, sample: &NodeSample, remembered: Duration, walked: &BTreeSet<PodUid>) {
        let now = Instant::now();
        let StoragePlace {
            root, logs, quotas, ..
        } = &self.place;
        let mut due = Vec::new();
        for pod in &sample.pods {
            let known = self.pods.entry(pod.uid.clone()).or_insert_with(|| Counted {
                counted: None,
                rests: now,
                directories: Directories::default(),
                volumes: Arc::default(),
            });
            let is_fresh = known.counted.is_some_and(|counted| now < counted + remembered);
            let trust = match walked.contains(&pod.uid) {
                true => Trust::Walks,
                false => Trust::Quotas,
            };
            if trust == Trust::Quotas && (is_fresh || known.rests > now) {
                continue;
            }
            let place = directories::Place::new((root, logs), *quotas, &pod.name, &pod.uid);
            let volumes = Arc::clone(&known.volumes);
            let work = move || {
                yield_to_others();
                let mut volumes = volumes.lock().unwrap_or_else(PoisonError::into_inner);
                directories::count(
                    &place,
                    &mut volumes,
                    trust,
                    std::time::Instant::now() + LONGEST_COUNT,
                )
            };
            due.push((pod.uid.0.clone(), work));
        }
        let (pods, counters) = (&mut self.pods, &self.place.counters);
        let done = |uid: &str, counted: Result<directories::Counted, Stuck>| {
            let Some(known) = pods.get_mut(&PodUid(uid.to_owned())) else {
                return;
            };
            known.take(uid, counted, counters);
        };
        self.counts.run_each(due, LONGEST_COUNT, done).await;
    }
}

/// The calling thread, which ends with its count, comes last from now on, for the processor and for the disk, whose priority
/// follows (`Documentation/block/ioprio.rst` of the kernel): nobody waits for numbers as urgently as a pod for its files.
fn yield_to_others() {
    // Whoever keeps it from that has it count all the same.
    let _ = rustix::process::setpriority_process(None, LAST);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::Settings;
    use crate::model::sample;

    #[test]
    fn a_count_comes_last_and_nobody_else_with_it() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let own = priority();
        let of_count = std::thread::spawn(move || {
            yield_to_others();
            priority()
        });
        assert_eq!((of_count.join().unwrap(), priority()), (LAST, own));
    }

    #[tokio::test]
    async fn without_a_runtime_what_lies_on_the_nodes_disk_is_known_and_remembered() {
        let root = tempfile::tempdir().unwrap();
        let volume = root.path().join("pods/u1/volumes/kubernetes.io~empty-dir/data");
        std::fs::create_dir_all(&volume).unwrap();
        let (_out, measured) = watch::channel(Arc::new(Measured {
            pids_max: 100,
            pids_used: 7,
            ..Measured::default()
        }));
        let place = StoragePlace {
            root: root.path().to_owned(),
            logs: root.path().join("logs"),
            quotas: Quotas::Asked,
            runtime: Runtime::new(&Settings::at(root.path().join("none.sock"), PATIENCE)),
            measured,
            counters: Arc::default(),
        };
        let (handle, requests) = storage_requests();
        let cancel = CancellationToken::new();
        let running = tokio::spawn(run_storage(place, requests, cancel.clone()));
        let sample = Arc::new(sample::stats::node());
        let first = handle.get(&sample).await.unwrap();
        assert!(first.node.is_some_and(|node| node.capacity > 0), "{first:?}");
        assert_eq!(first.images, None);
        assert!(matches!(first.processes, Some((_, 7, 100))), "{first:?}");
        let pod = &first.pods[&PodUid("u1".to_owned())];
        assert_eq!(pod.volumes[0].name, "data");
        assert_eq!(pod.ephemeral(), pod.volumes[0].used);
        std::fs::remove_dir(&volume).unwrap();
        let again = handle.get(&sample).await.unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        cancel.cancel();
        running.await.unwrap();
        assert_eq!(handle.get(&sample).await, Err(Stopped));
    }
}
