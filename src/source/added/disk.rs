//! Additions are written and removed by a thread that may wait for the disk, one after the other; the pods' changes do not
//! wait for it.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use k8s_openapi::api::core::v1::EphemeralContainer;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use super::pods::Addition;
use super::saved::Saved;
use crate::model::added::NotAdded;
use crate::model::pod_name::PodUid;

/// How long the end of the agent waits for the disk.
const LAST: Duration = Duration::from_secs(1);

/// The directory, and what is being done there.
#[derive(Debug)]
pub(super) struct Disk {
    saved: Saved,
    work: Option<JoinHandle<Done>>,
}

/// What was done.
#[derive(Debug)]
pub(super) enum Done {
    /// An addition was saved, or could not be.
    Saved {
        addition: Addition,
        answer: oneshot::Sender<Result<(), NotAdded>>,
        result: Result<(), NotAdded>,
    },
    /// Files of pods that are gone were removed, as far as possible.
    Removed,
}

impl Disk {
    /// Reads everything that is saved. `None` if the process ends.
    pub(super) async fn load(saved: Saved) -> Option<(Disk, BTreeMap<PodUid, Vec<EphemeralContainer>>)> {
        let reader = saved.clone();
        let added = spawn_blocking(move || reader.load()).await.ok()?;
        Some((Disk { saved, work: None }, added))
    }

    /// Whether something is being done: nothing else may be begun before.
    pub(super) fn is_busy(&self) -> bool {
        self.work.is_some()
    }

    /// Begins to save an addition.
    pub(super) fn save(&mut self, addition: Addition, answer: oneshot::Sender<Result<(), NotAdded>>) {
        let saved = self.saved.clone();
        self.begin(move || {
            let result = saved
                .save(&addition.uid, &addition.containers)
                .map_err(|error| NotAdded::NotSaved(error.to_string()));
            Done::Saved {
                addition,
                answer,
                result,
            }
        });
    }

    /// Begins to remove what was added to these pods.
    pub(super) fn remove(&mut self, uids: Vec<PodUid>) {
        if uids.is_empty() {
            return;
        }
        let saved = self.saved.clone();
        self.begin(move || {
            for uid in uids {
                if let Err(error) = saved.remove(&uid) {
                    tracing::warn!(%error, pod_uid = uid.0, "cannot remove the file of a pod's added containers");
                }
            }
            Done::Removed
        });
    }

    /// Waits for a moment for what was begun; after that it is left to its thread.
    pub(super) async fn finish(mut self) {
        if self.is_busy() {
            // A write that has not ended is whole or not there at all.
            let _ = tokio::time::timeout(LAST, self.done()).await;
        }
    }

    fn begin(&mut self, work: impl FnOnce() -> Done + Send + 'static) {
        debug_assert!(!self.is_busy(), "the caller looks");
        self.work = Some(spawn_blocking(work));
    }

    /// Waits until what was begun is done; for ever if nothing was. It may be dropped and called again.
    pub(super) async fn done(&mut self) -> Done {
        let Some(work) = &mut self.work else {
            return pending().await;
        };
        let done = work.await;
        self.work = None;
        match done {
            Ok(done) => done,
            // The thread panicked, which is logged, or the process ends; the caller's channel is closed.
            Err(_) => Done::Removed,
        }
    }
}
