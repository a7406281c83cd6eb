//! What is known of one volume on the node.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::csi::Lifecycle;
use crate::model::csi_request::{CsiRequest, Shape, VolumeData};
use crate::model::driver::Ability;
use crate::model::pod::PodUid;

/// One volume on the node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Device {
    pub(super) driver: String,
    pub(super) handle: String,
    pub(super) place: Place,
}

/// What it is on the node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A directory; it is staged in one that is named after the handle.
    Files,
    /// A device; everything of it is named after this PersistentVolume.
    Block(String),
}

impl Device {
    /// What a data file names.
    pub(super) fn new(data: VolumeData, place: Place) -> Device {
        Device {
            driver: data.driver_name,
            handle: data.volume_handle,
            place,
        }
    }

    pub(super) fn of(request: &CsiRequest) -> Device {
        Device {
            driver: request.driver.clone(),
            handle: request.handle.clone(),
            place: match request.shape {
                Shape::Block => Place::Block(request.name.clone()),
                Shape::FileSystem { .. } => Place::Files,
            },
        }
    }
}

/// Whether a call has taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Effect {
    /// It was not made, or it failed for certain.
    #[default]
    None,
    /// It was made, and what came of it is not known; or it was made by a former agent.
    Unsure,
    /// It has.
    Done,
}

/// The turn of a volume: one at a time stages it, publishes it, or takes it down.
#[derive(Debug, Clone)]
pub(super) struct Turn(Arc<Semaphore>);

impl Default for Turn {
    fn default() -> Turn {
        Turn(Arc::new(Semaphore::new(1)))
    }
}

impl Turn {
    /// Waits for it; it lasts as long as what is returned.
    pub(super) async fn take(self) -> OwnedSemaphorePermit {
        let taken = self.0.acquire_owned().await;
        taken.expect("the semaphore is never closed")
    }
}

/// What is known of a volume.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) turn: Turn,
    pub(super) staged: Effect,
    /// Whether the control plane attaches it; `None`: a former agent staged it.
    pub(super) attaches: Option<bool>,
    /// The pods that use it, or wait for it, and whether it is published for them.
    pub(super) users: BTreeMap<PodUid, Effect>,
}

impl Entry {
    /// Whether anything of it is on the node, or may be.
    pub(super) fn is_mounted(&self) -> bool {
        let is_published = self.users.values().any(|published| *published != Effect::None);
        self.staged != Effect::None || is_published
    }
}

/// Whether a volume is staged before it is published: those that live as long as their pod are not.
pub(super) fn is_staged(request: &CsiRequest) -> bool {
    request.lifecycle == Lifecycle::Persistent && request.registered.can(Ability::Stage)
}
