//! Which volumes of drivers are on the node, and which pods use them.
//!
//! The kubelet's data files are what is kept: at its start the agent reads them. Between them and what a driver has done
//! there is always a moment, so a volume found there may or may not be staged or published. The calls may be made again
//! (CSI specification, *idempotent*), and are, before anybody relies on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::entry::{Device, Effect, Entry, Turn};
use super::found;
use crate::act::volume::at_work::AtWork;
use crate::counters::Counters;
use crate::csi::Socket;
use crate::model::csi_request::CsiRequest;
use crate::model::driver::{Driver, Drivers, not_registered};
use crate::model::mounted::{MountedVolume, MountedVolumes};
use crate::model::pod::PodUid;

/// The volumes of drivers on the node. Clones share them.
#[derive(Debug, Clone)]
pub struct CsiVolumes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// `None`: nothing is asked of drivers.
    drivers: Option<watch::Receiver<Arc<Drivers>>>,
    entries: Mutex<BTreeMap<Device, Entry>>,
    mounted: watch::Sender<Arc<MountedVolumes>>,
    /// Counts the pods that have left a volume.
    left: watch::Sender<u64>,
    at_work: AtWork,
    counters: Arc<Counters>,
}

impl CsiVolumes {
    /// Reads what is below `root`, the directory of the node's state. What cannot be read is logged and left alone.
    pub fn open(
        root: &Path,
        drivers: watch::Receiver<Arc<Drivers>>,
        at_work: AtWork,
        counters: Arc<Counters>,
    ) -> CsiVolumes {
        let entries = found::read(root).unwrap_or_else(|error| {
            tracing::error!("cannot read which volumes of drivers are on the node: {error}");
            BTreeMap::new()
        });
        let volumes = CsiVolumes(Arc::new(Inner {
            root: root.to_owned(),
            drivers: Some(drivers),
            entries: Mutex::new(entries),
            mounted: watch::channel(Arc::default()).0,
            left: watch::channel(0).0,
            at_work,
            counters,
        }));
        volumes.publish(&volumes.entries());
        volumes
    }

    /// What is staged or published; changes wake the receiver.
    pub fn mounted(&self) -> watch::Receiver<Arc<MountedVolumes>> {
        self.0.mounted.subscribe()
    }

    /// Grows whenever a pod has left a volume, which another may wait for.
    pub fn left(&self) -> watch::Receiver<u64> {
        self.0.left.subscribe()
    }

    /// Says what is being done with them.
    pub(super) fn at_work(&self) -> &AtWork {
        &self.0.at_work
    }

    /// The drivers; `None`: where pods are removed without them, what they have mounted is only unmounted.
    pub(super) fn drivers(&self) -> Option<watch::Receiver<Arc<Drivers>>> {
        self.0.drivers.clone()
    }

    /// The socket of a driver, or the kubelet's message where it is not registered.
    pub(super) fn socket(&self, name: &str) -> Result<Socket, String> {
        let (_, socket) = self.driver(name).ok_or_else(|| not_registered(name))?;
        Ok(socket)
    }

    /// A driver that is registered now.
    pub(super) fn driver(&self, name: &str) -> Option<(Arc<Driver>, Socket)> {
        let drivers = self.0.drivers.as_ref()?.borrow();
        let driver = drivers.by_name.get(name)?.clone();
        let socket = Socket::at(&driver.endpoint).counting(name, &self.0.counters);
        Some((driver, socket))
    }

    pub(super) fn root(&self) -> &Path {
        &self.0.root
    }

    /// Makes the pod one of the volume's users and returns the volume's turn; or refuses, where it is for one pod and
    /// another has it.
    pub(super) fn enter(&self, request: &CsiRequest, pod: &PodUid) -> Result<Turn, String> {
        let mut entries = self.entries();
        let entry = entries.entry(Device::of(request)).or_default();
        let is_other = |(uid, published): (&PodUid, &Effect)| uid != pod && *published != Effect::None;
        if request.is_exclusive && entry.users.iter().any(is_other) {
            return Err(
                "volume uses the ReadWriteOncePod access mode and is already in use by another pod"
                    .to_owned(),
            );
        }
        entry.attaches = Some(request.attaches);
        entry.users.entry(pod.clone()).or_default();
        Ok(entry.turn.clone())
    }

    /// The volume's turn, for who takes something of it down.
    pub(super) fn turn(&self, device: &Device) -> Turn {
        let mut entries = self.entries();
        entries.entry(device.clone()).or_default().turn.clone()
    }

    pub(super) fn staged(&self, device: &Device) -> Effect {
        let entries = self.entries();
        entries.get(device).map_or(Effect::None, |entry| entry.staged)
    }

    pub(super) fn published(&self, device: &Device, pod: &PodUid) -> Effect {
        let entries = self.entries();
        let published = entries.get(device).and_then(|entry| entry.users.get(pod));
        published.copied().unwrap_or_default()
    }

    pub(super) fn set_staged(&self, device: &Device, staged: Effect) {
        let mut entries = self.entries();
        if let Some(entry) = entries.get_mut(device) {
            entry.staged = staged;
        }
        self.publish(&entries);
    }

    pub(super) fn set_published(&self, device: &Device, pod: &PodUid, published: Effect) {
        let mut entries = self.entries();
        if let Some(user) = entries.get_mut(device).and_then(|entry| entry.users.get_mut(pod)) {
            *user = published;
        }
        self.publish(&entries);
    }

    /// The pod uses the volume no more.
    pub(super) fn leave(&self, device: &Device, pod: &PodUid) {
        let mut entries = self.entries();
        if let Some(entry) = entries.get_mut(device) {
            entry.users.remove(pod);
        }
        forget_unused(&mut entries);
        self.publish(&entries);
        self.0.left.send_modify(|count| *count += 1);
    }

    /// The pod uses no volume any more of which nothing was published.
    pub(super) fn leave_all(&self, pod: &PodUid) {
        let mut entries = self.entries();
        let mut has_left = false;
        for entry in entries.values_mut() {
            if entry.users.get(pod) == Some(&Effect::None) {
                entry.users.remove(pod);
                has_left = true;
            }
        }
        if has_left {
            forget_unused(&mut entries);
            self.0.left.send_modify(|count| *count += 1);
        }
    }

    /// Whether a pod uses the volume.
    pub(super) fn is_used(&self, device: &Device) -> bool {
        let entries = self.entries();
        entries.get(device).is_some_and(|entry| !entry.users.is_empty())
    }

    /// The drivers of the volumes that a pod uses.
    pub(in crate::act) fn drivers_of(&self, pod: &PodUid) -> BTreeSet<String> {
        let entries = self.entries();
        let used = entries.iter().filter(|(_, entry)| entry.users.contains_key(pod));
        used.map(|(device, _)| device.driver.clone()).collect()
    }

    /// The volumes that are or may be staged and that no pod uses.
    pub(super) fn unused(&self) -> BTreeSet<Device> {
        let entries = self.entries();
        let unused = entries
            .iter()
            .filter(|(_, entry)| entry.users.is_empty() && entry.staged != Effect::None);
        unused.map(|(device, _)| device.clone()).collect()
    }

    /// Nothing is staged any more of a volume that nobody uses.
    pub(super) fn set_unstaged(&self, device: &Device) {
        self.set_staged(device, Effect::None);
        forget_unused(&mut self.entries());
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Device, Entry>> {
        // Who panicked meanwhile left values behind that are as good as any.
        self.0
            .entries
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn publish(&self, entries: &BTreeMap<Device, Entry>) {
        let mounted = entries.iter().filter(|(_, entry)| entry.is_mounted());
        let all = MountedVolumes(mounted.map(row).collect());
        self.0.mounted.send_if_modified(|before| {
            let changes = **before != all;
            if changes {
                *before = Arc::new(all);
            }
            changes
        });
    }
}

/// Of an agent that asks nothing of drivers.
impl Default for CsiVolumes {
    fn default() -> CsiVolumes {
        CsiVolumes(Arc::new(Inner {
            root: PathBuf::new(),
            drivers: None,
            entries: Mutex::default(),
            mounted: watch::channel(Arc::default()).0,
            left: watch::channel(0).0,
            at_work: AtWork::default(),
            counters: Arc::default(),
        }))
    }
}

/// Who waits for a volume's turn is one of its users, but for who unstages it.
fn forget_unused(entries: &mut BTreeMap<Device, Entry>) {
    entries.retain(|_, entry| !entry.users.is_empty() || entry.staged != Effect::None);
}

fn row((device, entry): (&Device, &Entry)) -> MountedVolume {
    MountedVolume {
        driver: device.driver.clone(),
        handle: device.handle.clone(),
        attaches: entry.attaches,
    }
}
