//! The devices that are mounted for the node: one at a time works on each, and pods send word when they have left one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::act::keyed_turns::KeyedTurns;

/// Who works on devices that are mounted for the node, and word of those that pods have left. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct NodeDevices {
    /// By mount point.
    turns: KeyedTurns<PathBuf>,
    left: Arc<Notify>,
}

impl NodeDevices {
    /// Waits for the turn of a mount point; it lasts as long as what is returned.
    pub(super) async fn turn(&self, mount_point: &Path) -> OwnedSemaphorePermit {
        self.turns.turn(mount_point.to_owned()).await
    }

    /// The turn, if nobody has it.
    pub(super) fn try_turn(&self, mount_point: &Path) -> Option<OwnedSemaphorePermit> {
        self.turns.try_turn(mount_point.to_owned())
    }

    /// Waits for word that a pod has left volumes; it stays until it is taken.
    pub(super) async fn some_left(&self) {
        self.left.notified().await;
    }

    /// A pod has left volumes that may have been on such devices.
    pub(in crate::act) fn left(&self) {
        self.left.notify_one();
    }
}
