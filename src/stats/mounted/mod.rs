//! What the volumes hold that are mounted for pods: those of storage drivers, of NFS servers, and `local` PersistentVolumes. A task of its
//! own: it measures when somebody asks, each volume at most once in a while (`volumeStatsAggPeriod`), and all at once. A volume
//! whose driver or file system hangs keeps its last numbers, and holds up no other volume; who asks waits a second for it,
//! once.

mod due;
mod found;
mod measure;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::due::{Measured, Remembered};
use self::found::{Found, Key};
use self::measure::{Slots, Tools};
use super::sampler::Stopped;
use crate::counters::Counters;
use crate::model::driver::Drivers;
use crate::model::stats::MountedUsages;

pub use measure::HealthReports;

/// How long an answer waits for volumes that are being measured.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many may wait for an answer.
const WAITING: usize = 64;

/// Where this machine's volumes are.
#[derive(Clone)]
pub struct MountedPlace {
    /// The node's own directory (`/var/lib/kubelet`).
    pub root: PathBuf,
    /// The registered drivers.
    pub drivers: watch::Receiver<Arc<Drivers>>,
    /// How often a volume is measured at most; `None`: never.
    pub period: Option<Duration>,
    /// Whether drivers are asked if volumes are well.
    pub health: HealthReports,
    /// Counts how long it takes.
    pub counters: Arc<Counters>,
}

/// Asks what volumes hold.
#[derive(Debug, Clone)]
pub struct MountedHandle(mpsc::Sender<oneshot::Sender<Arc<MountedUsages>>>);

impl MountedHandle {
    /// What the volumes hold that are mounted now.
    pub async fn get(&self) -> Result<Arc<MountedUsages>, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }
}

/// The requests of a task that is still to run.
#[derive(Debug)]
pub struct MountedRequests(mpsc::Receiver<oneshot::Sender<Arc<MountedUsages>>>);

/// The two ends.
pub fn mounted_requests() -> (MountedHandle, MountedRequests) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (MountedHandle(sender), MountedRequests(receiver))
}

/// Answers every request with this.
#[cfg(test)]
pub(crate) fn answering(usages: MountedUsages) -> MountedHandle {
    let (handle, mut requests) = mounted_requests();
    let usages = Arc::new(usages);
    std::thread::spawn(move || {
        while let Some(answer) = requests.0.blocking_recv() {
            let _ = answer.send(Arc::clone(&usages));
        }
    });
    handle
}

/// A volume that was measured.
type Done = (Key, Found, (Measured, Duration));

struct Task {
    place: MountedPlace,
    tools: Tools,
    slots: Slots,
    remembered: Remembered,
    calls: JoinSet<Done>,
}

/// Measures when asked, until canceled.
pub async fn run_mounted(place: MountedPlace, mut requests: MountedRequests, cancel: CancellationToken) {
    let mut waiting: Vec<(Instant, oneshot::Sender<Arc<MountedUsages>>)> = Vec::new();
    let mut task = Task {
        tools: Tools::new(place.drivers.clone(), place.health, place.counters.clone()),
        slots: Slots::default(),
        remembered: Remembered::new(place.period.unwrap_or_default()),
        calls: JoinSet::new(),
        place,
    };
    loop {
        let now = Instant::now();
        let first = waiting.first().map(|(until, _)| *until);
        let is_young = task
            .remembered
            .is_measuring_since(now.checked_sub(PATIENCE).unwrap_or(now));
        if first.is_some_and(|until| until <= now || !is_young) {
            let usages = Arc::new(task.remembered.usages());
            for (_, answer) in waiting.drain(..) {
                // It fails if the request was dropped.
                let _ = answer.send(Arc::clone(&usages));
            }
        }
        let overdue = waiting.first().map(|(until, _)| *until);
        // All are cancel-safe: a request stays in its channel, a call goes on.
        tokio::select! {
            request = requests.0.recv() => {
                let Some(answer) = request else { return };
                task.begin().await;
                waiting.push((Instant::now() + PATIENCE, answer));
            }
            Some(done) = task.calls.join_next() => {
                // One that panicked was reported where it did; its volume is not measured again.
                if let Ok((key, found, measured)) = done {
                    let salt = salt(&key);
                    task.remembered.measured((&key, &found), measured, Instant::now(), salt);
                }
            }
            () = until(overdue) => {}
            () = cancel.cancelled() => return,
        }
    }
}

impl Task {
    /// Begins to measure what is due.
    async fn begin(&mut self) {
        if self.place.period.is_none() {
            return;
        }
        let root = self.place.root.clone();
        let found = tokio::task::spawn_blocking(move || found::find(&root)).await;
        let found = found.expect("listing directories does not panic");
        self.slots.forget_unused();
        for (key, found) in self.remembered.take(found, Instant::now()) {
            let (tools, slots) = (self.tools.clone(), self.slots.of(&found));
            self.calls.spawn(async move {
                let measured = tools.measure(key.plugin, &found, slots).await;
                (key, found, measured)
            });
        }
    }
}

/// What spreads the volumes over time.
fn salt(key: &Key) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one((&key.pod.0, &key.name))
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
