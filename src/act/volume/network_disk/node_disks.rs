//! The disks of storage networks that the node has: one at a time works on each and logs in to a target, pods send word when
//! they have left one, and the control plane is told which are in use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, watch};

use super::ledger::{self, DiskId};
use super::sysfs::DiskPlaces;
use crate::act::keyed_turns::KeyedTurns;
use crate::model::iscsi::IscsiRecord;
use crate::model::mounted::{MountedVolume, MountedVolumes};
use crate::model::network_disk::{NamedDisk, NetworkDisk};

/// Who works on the disks, and which there are. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct NodeDisks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: DiskPlaces,
    /// By directory.
    turns: KeyedTurns<PathBuf>,
    /// By target: who attaches a disk of it shares it, who logs out has it alone.
    targets: KeyedTurns<String>,
    /// By target and portal: one at a time logs in.
    portals: KeyedTurns<(String, String)>,
    left: Notify,
    /// Somebody had to give up because of others who attach disks.
    is_awaited: AtomicBool,
    /// By directory.
    known: Mutex<BTreeMap<PathBuf, Known>>,
    mounted: watch::Sender<Arc<MountedVolumes>>,
}

impl Default for Inner {
    fn default() -> Inner {
        Inner {
            places: DiskPlaces::default(),
            turns: KeyedTurns::default(),
            targets: KeyedTurns::default(),
            portals: KeyedTurns::default(),
            left: Notify::new(),
            is_awaited: AtomicBool::new(false),
            known: Mutex::default(),
            mounted: watch::channel(Arc::default()).0,
        }
    }
}

/// A disk that is or may be attached.
#[derive(Debug)]
struct Known {
    /// Of an iSCSI target: what is attached. `None`: an earlier agent did, and something is mounted over what it wrote.
    record: Option<IscsiRecord>,
    /// What the Node's status may call it.
    names: Vec<MountedVolume>,
}

/// A disk of a target is being attached.
#[derive(Debug)]
pub(super) struct Attaching {
    share: Option<OwnedSemaphorePermit>,
    disks: NodeDisks,
}

impl Drop for Attaching {
    fn drop(&mut self) {
        // First the share: who gets word tries at once.
        drop(self.share.take());
        if self.disks.0.is_awaited.swap(false, Ordering::Relaxed) {
            self.disks.left();
        }
    }
}

impl NodeDisks {
    /// With devices elsewhere, for tests.
    pub fn at(places: DiskPlaces) -> NodeDisks {
        NodeDisks(Arc::new(Inner {
            places,
            ..Inner::default()
        }))
    }

    /// Notes what earlier agents have left below `root`, the directory of the node's state. What cannot be read is logged
    /// and left alone.
    pub fn find(&self, root: &Path) {
        let found = ledger::directories(root).unwrap_or_else(|error| {
            tracing::error!("cannot list the iSCSI and Fibre Channel volumes on the node: {error}");
            Vec::new()
        });
        let mut known = self.known();
        for own in found {
            let (plugin, handles) = match &own.id {
                DiskId::Iscsi(record) => (own.plugin, record.handles()),
                DiskId::Fc(disk) => (own.plugin, vec![disk.handle()]),
            };
            let name = |handle| MountedVolume {
                driver: plugin.name().to_owned(),
                handle,
                attaches: None,
            };
            let one = Known {
                record: None,
                names: handles.into_iter().map(name).collect(),
            };
            known.insert(own.dir, one);
        }
        self.publish(&known);
    }

    /// What is in use; changes wake the receiver.
    pub fn mounted(&self) -> watch::Receiver<Arc<MountedVolumes>> {
        self.0.mounted.subscribe()
    }

    /// Waits for the turn of a directory; it lasts as long as what is returned.
    pub(super) async fn turn(&self, dir: &Path) -> OwnedSemaphorePermit {
        self.0.turns.turn(dir.to_owned()).await
    }

    /// The turn, if nobody has it.
    pub(super) fn try_turn(&self, dir: &Path) -> Option<OwnedSemaphorePermit> {
        self.0.turns.try_turn(dir.to_owned())
    }

    /// Waits until nobody logs out of a target; nobody does as long as what is returned lasts. Who attaches a disk through a portal
    /// that does not answer holds no one up who names another.
    pub(super) async fn attaching(&self, iqn: &str) -> Attaching {
        Attaching {
            share: Some(self.0.targets.share(iqn.to_owned()).await),
            disks: self.clone(),
        }
    }

    /// The target alone, unless somebody attaches a disk of it: then word is sent when that has ended.
    pub(super) fn detaching(&self, iqn: &str) -> Option<OwnedSemaphorePermit> {
        self.0.is_awaited.store(true, Ordering::Relaxed);
        let alone = self.0.targets.try_turn(iqn.to_owned())?;
        self.0.is_awaited.store(false, Ordering::Relaxed);
        Some(alone)
    }

    /// Waits for the turn of a portal of a target.
    pub(super) async fn portal(&self, iqn: &str, portal: &str) -> OwnedSemaphorePermit {
        let key = (iqn.to_owned(), portal.to_owned());
        self.0.portals.turn(key).await
    }

    /// Waits for word that a pod has left disks; it stays until it is taken.
    pub(super) async fn some_left(&self) {
        self.0.left.notified().await;
    }

    /// A pod has left disks.
    pub(in crate::act) fn left(&self) {
        self.0.left.notify_one();
    }

    pub(super) fn places(&self) -> &DiskPlaces {
        &self.0.places
    }

    /// A disk is going to be attached.
    pub(super) fn enter(&self, dir: &Path, disk: &NamedDisk) {
        let record = match &disk.disk {
            NetworkDisk::Iscsi(disk) => Some(disk.record.clone()),
            NetworkDisk::Fc(_) => None,
        };
        let name = MountedVolume {
            driver: disk.disk.plugin().name().to_owned(),
            handle: disk.handle.clone(),
            attaches: Some(disk.attaches),
        };
        let mut known = self.known();
        let entered = Known {
            record,
            names: vec![name],
        };
        known.insert(dir.to_owned(), entered);
        self.publish(&known);
    }

    /// A disk is not on the node any more.
    pub(super) fn leave(&self, dir: &Path) {
        let mut known = self.known();
        known.remove(dir);
        self.publish(&known);
    }

    /// What is attached there, where this agent knows it.
    pub(super) fn record(&self, dir: &Path) -> Option<IscsiRecord> {
        self.known().get(dir)?.record.clone()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, known: &BTreeMap<PathBuf, Known>) {
        let all = known.values().flat_map(|one| one.names.iter().cloned());
        let all = MountedVolumes(all.collect());
        self.0.mounted.send_if_modified(|old| {
            let is_new = **old != all;
            if is_new {
                *old = Arc::new(all);
            }
            is_new
        });
    }
}
