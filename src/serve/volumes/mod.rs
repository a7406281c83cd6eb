//! `/volumes` of the agent's socket: where each volume of a pod is mounted and since when, or what it waits for; and the
//! volumes of drivers that are staged though no pod uses them.
//!
//! - `endpoint`: takes what is known at the moment of the question.
//! - `found`: what the disk and the kernel's table of mounts say. Nothing that is mounted is touched: it may hang.
//! - `place` (pure): what a volume is, and where it is in the directory of its pod.
//! - `mounts` (pure): where containers have it.
//! - `rows` (pure): all of it together.
//! - `wire`: the answer as the client reads it.

mod endpoint;
mod found;
mod mounts;
mod place;
mod rows;
pub mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use crate::model::memory::Memory;
use crate::model::volume_work::VolumeWork;

pub(super) use endpoint::answer;

/// What is known of volumes alone.
#[derive(Debug, Clone)]
pub struct VolumeSources {
    /// The node's own directory (`/var/lib/kubelet`).
    pub root: PathBuf,
    /// What failed.
    pub memory: watch::Receiver<Arc<Memory>>,
    /// What is being done.
    pub work: watch::Receiver<VolumeWork>,
}

/// Of a node on which nothing is done with volumes.
impl Default for VolumeSources {
    fn default() -> VolumeSources {
        VolumeSources {
            root: PathBuf::new(),
            memory: watch::channel(Arc::default()).1,
            work: watch::channel(VolumeWork::default()).1,
        }
    }
}
