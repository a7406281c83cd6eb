//! Pods that take more of the node's disk than their limits allow (Kubernetes: *Local ephemeral storage*;
//! `localStorageEviction` in `pkg/kubelet/eviction/eviction_manager.go`).

use crate::model::amounts::{Overhead, pod_limits};
use crate::model::measured::DiskLayout;
use crate::model::pod::{Container, Pod, Volume, VolumeSource};
use crate::model::pods_use::PodUse;
use crate::model::resources::Bytes;
use crate::model::stats::PodStorage;
use crate::model::volume::Medium;

/// What a limit is of.
#[derive(Debug, Clone, Copy)]
enum Limited<'a> {
    /// An emptyDir, of this name; a tmpfs cannot be larger than its limit.
    Volume(&'a str, &'a Medium),
    /// The whole pod.
    Pod,
    /// The container of this name, and whether it runs.
    Container(&'a str, bool),
}

/// A limit, and what is used of it, in bytes.
struct Limit<'a> {
    of: Limited<'a>,
    most: Bytes,
    used: u64,
}

/// A limit that is exceeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exceeded {
    /// The label of the kubelet's metric `kubelet_evictions`.
    pub(super) signal: &'static str,
    /// For the pod's owner.
    pub(super) message: String,
    /// Whether what the pod takes was counted.
    pub(super) is_counted: bool,
}

/// The first limit that the pod exceeds.
pub(super) fn exceeded(pod: &Pod, used: &PodUse, disks: DiskLayout) -> Option<Exceeded> {
    let storage = used.storage.as_ref()?;
    let mut all = limits(pod, Some(used), storage, disks);
    // Only what runs is measured by container.
    let limit = all.find(|limit| limit.left() < 0 && !matches!(limit.of, Limited::Container(_, false)))?;
    let most = limit.most.quantity();
    let (signal, message, is_counted) = match limit.of {
        Limited::Volume(name, _) => {
            let held = storage.volumes.iter().find(|held| held.name == name);
            (
                "emptydirfs.limit",
                format!("Usage of EmptyDir volume {name:?} exceeds the limit {most:?}. "),
                held.is_some_and(|held| held.is_counted),
            )
        }
        Limited::Pod => (
            "ephemeralpodfs.limit",
            format!("Pod ephemeral local storage usage exceeds the total limit of containers {most}. "),
            is_counted(used),
        ),
        Limited::Container(name, _) => (
            "ephemeralcontainerfs.limit",
            format!("Container {name} exceeded its local ephemeral storage limit {most:?}. "),
            true,
        ),
    };
    Some(Exceeded {
        signal,
        message,
        is_counted,
    })
}

/// How much more of the disk the pod may take at least before it exceeds a limit; `None` without a limit. What is not known
/// yet has begun since; where the disk was not asked it may be anything.
pub(super) fn room(pod: &Pod, used: Option<&PodUse>, disks: DiskLayout) -> Option<i64> {
    let nothing = PodStorage::default();
    let known = used.map_or(Some(&nothing), |used| used.storage.as_ref());
    let all = limits(pod, used, known.unwrap_or(&nothing), disks);
    let on_disk = all.filter(|limit| match limit.of {
        Limited::Volume(_, medium) => *medium == Medium::Disk,
        Limited::Pod | Limited::Container(..) => true,
    });
    let least = on_disk.map(|limit| limit.left()).min()?;
    Some(if known.is_some() { least } else { 0 })
}

/// The limits of the pod, in the order in which they are looked at. A limit of 0 is one for the whole pod alone.
fn limits<'a>(
    pod: &'a Pod,
    used: Option<&'a PodUse>,
    storage: &'a PodStorage,
    disks: DiskLayout,
) -> impl Iterator<Item = Limit<'a>> {
    let volumes = pod.volumes.iter().filter_map(|volume| of_volume(volume, storage));
    let whole = pod_limits(pod, Overhead::Without).ephemeral_storage;
    let whole = whole.map(|most| Limit {
        of: Limited::Pod,
        most,
        used: storage.ephemeral().bytes,
    });
    let containers = pod.containers.iter();
    let containers = containers.filter_map(move |container| of_container(container, used, storage, disks));
    volumes.chain(whole).chain(containers)
}

fn of_volume<'a>(volume: &'a Volume, storage: &PodStorage) -> Option<Limit<'a>> {
    let VolumeSource::EmptyDir {
        medium,
        size_limit: Some(most),
    } = &volume.source
    else {
        return None;
    };
    let held = storage.volumes.iter().find(|held| held.name == volume.name);
    (*most > Bytes(0)).then(|| Limit {
        of: Limited::Volume(&volume.name, medium),
        most: *most,
        used: held.map_or(0, |held| held.used.bytes),
    })
}

/// A container's log counts, and what it wrote beside it where that lies on the node's own disk.
fn of_container<'a>(
    container: &'a Container,
    used: Option<&PodUse>,
    storage: &PodStorage,
    disks: DiskLayout,
) -> Option<Limit<'a>> {
    let most = container.resources.limits.ephemeral_storage;
    let most = most.filter(|most| *most > Bytes(0))?;
    let runs = used.and_then(|used| used.containers.get(&container.name));
    let layer = runs.and_then(|runs| storage.layers.get(&runs.id));
    let layer = layer.filter(|_| disks == DiskLayout::Shared);
    let log = storage.logs.get(&container.name).map_or(0, |log| log.bytes);
    Some(Limit {
        of: Limited::Container(&container.name, runs.is_some()),
        most,
        used: log.saturating_add(layer.map_or(0, |layer| layer.bytes)),
    })
}

impl Limit<'_> {
    /// How much more may be used; negative if it is exceeded.
    fn left(&self) -> i64 {
        let used = i64::try_from(self.used).unwrap_or(i64::MAX);
        self.most.0.saturating_sub(used)
    }
}

/// Whether all volumes of the pod that lie on the node's disk were counted.
pub(super) fn is_counted(used: &PodUse) -> bool {
    let mut volumes = used.storage.iter().flat_map(|storage| &storage.volumes);
    volumes.all(|volume| !volume.is_ephemeral || volume.is_counted)
}
