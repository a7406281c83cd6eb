//! One at a time works on what a device is mounted on for the node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns of devices. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct DeviceTurns(Arc<Mutex<BTreeMap<PathBuf, Weak<Semaphore>>>>);

impl DeviceTurns {
    /// Waits for the turn of a mount point; it lasts as long as what is returned.
    pub(in crate::act) async fn turn(&self, mount_point: &Path) -> OwnedSemaphorePermit {
        let turn = self.of(mount_point);
        let taken = turn.acquire_owned().await;
        taken.expect("the semaphore is never closed")
    }

    fn of(&self, mount_point: &Path) -> Arc<Semaphore> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = all.get(mount_point).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(Semaphore::new(1));
        all.insert(mount_point.to_owned(), Arc::downgrade(&turn));
        turn
    }
}
