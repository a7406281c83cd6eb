//! Pods that take more of the node's disk than their limits allow (Kubernetes: *Local ephemeral storage*;
//! `localStorageEviction` in `pkg/kubelet/eviction/eviction_manager.go`).

use crate::model::amounts::{Overhead, pod_limits};
use crate::model::measured::DiskLayout;
use crate::model::pod::{Pod, VolumeSource};
use crate::model::pods_use::PodUse;
use crate::model::resources::Bytes;
use crate::model::stats::PodStorage;
use crate::model::volume::Medium;

/// Whether the pod has a limit that has to be watched. A tmpfs cannot be larger than its limit.
fn has_limit(pod: &Pod) -> bool {
    let volumes = pod.volumes.iter().any(|volume| {
        matches!(
            volume.source,
            VolumeSource::EmptyDir {
                medium: Medium::Disk,
                size_limit: Some(limit),
            } if limit > Bytes(0)
        )
    });
    let limited = |amounts: &Bytes| *amounts > Bytes(0);
    let mut containers = pod.own_containers();
    volumes
        || containers.any(|container| {
            container
                .resources
                .limits
                .ephemeral_storage
                .as_ref()
                .is_some_and(limited)
        })
}

/// Which limit is exceeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// `sizeLimit` of an emptyDir.
    Volume(String),
    /// The limit of the whole pod.
    Pod(String),
    /// That of a container.
    Container(String),
}

impl Exceeded {
    /// The label of the kubelet's metric `kubelet_evictions`.
    pub(super) fn signal(&self) -> &'static str {
        match self {
            Exceeded::Volume(_) => "emptydirfs.limit",
            Exceeded::Pod(_) => "ephemeralpodfs.limit",
            Exceeded::Container(_) => "ephemeralcontainerfs.limit",
        }
    }

    /// The message for the pod's owner.
    pub(super) fn message(&self) -> &str {
        match self {
            Exceeded::Volume(message) | Exceeded::Pod(message) | Exceeded::Container(message) => message,
        }
    }
}

/// The first limit that the pod exceeds, and whether what it takes was counted.
pub(super) fn exceeded(pod: &Pod, used: &PodUse, disks: DiskLayout) -> Option<(Exceeded, bool)> {
    let storage = used.storage.as_ref()?;
    let is_above = |bytes: u64, limit: Bytes| i64::try_from(bytes).unwrap_or(i64::MAX) > limit.0;
    for volume in &pod.volumes {
        let VolumeSource::EmptyDir {
            size_limit: Some(limit),
            ..
        } = volume.source
        else {
            continue;
        };
        let held = storage.volumes.iter().find(|held| held.name == volume.name);
        if let Some(held) = held.filter(|held| limit > Bytes(0) && is_above(held.used.bytes, limit)) {
            let (name, limit) = (&volume.name, limit.quantity());
            let message = format!("Usage of EmptyDir volume {name:?} exceeds the limit {limit:?}. ");
            return Some((Exceeded::Volume(message), held.is_counted));
        }
    }
    if let Some(limit) = pod_limits(pod, Overhead::Without).ephemeral_storage
        && is_above(storage.ephemeral().bytes, limit)
    {
        let limit = limit.quantity();
        let message =
            format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. ");
        return Some((Exceeded::Pod(message), is_counted(used)));
    }
    let layers_count = disks == DiskLayout::Shared;
    pod.containers.iter().find_map(|container| {
        let limit = container
            .resources
            .limits
            .ephemeral_storage
            .filter(|limit| *limit > Bytes(0))?;
        let id = &used.containers.get(&container.name)?.id;
        let log = storage.logs.get(&container.name).map_or(0, |log| log.bytes);
        let layer = storage.layers.get(id).filter(|_| layers_count);
        let used = log.saturating_add(layer.map_or(0, |layer| layer.bytes));
        is_above(used, limit).then(|| {
            let (name, limit) = (&container.name, limit.quantity());
            let message = format!("Container {name} exceeded its local ephemeral storage limit {limit:?}. ");
            (Exceeded::Container(message), true)
        })
    })
}

/// How much more of the disk the pod may take at least before it exceeds a limit; `None` without a limit. What is not known
/// yet has begun since; where the disk was not asked it may be anything.
pub(super) fn room(pod: &Pod, used: Option<&PodUse>) -> Option<i64> {
    if !has_limit(pod) {
        return None;
    }
    let nothing = PodStorage::default();
    let storage = match used {
        None => &nothing,
        Some(used) => match &used.storage {
            Some(storage) => storage,
            None => return Some(0),
        },
    };
    let left = |limit: Bytes, used: u64| limit.0.saturating_sub(i64::try_from(used).unwrap_or(i64::MAX));
    let volumes = pod.volumes.iter().filter_map(|volume| {
        let VolumeSource::EmptyDir {
            medium: Medium::Disk,
            size_limit: Some(limit),
        } = volume.source
        else {
            return None;
        };
        let held = storage.volumes.iter().find(|held| held.name == volume.name);
        (limit > Bytes(0)).then(|| left(limit, held.map_or(0, |held| held.used.bytes)))
    });
    let whole = pod_limits(pod, Overhead::Without).ephemeral_storage;
    let whole = whole.map(|limit| left(limit, storage.ephemeral().bytes));
    let containers = pod.containers.iter().filter_map(|container| {
        let limit = container
            .resources
            .limits
            .ephemeral_storage
            .filter(|limit| *limit > Bytes(0))?;
        let log = storage.logs.get(&container.name).map_or(0, |log| log.bytes);
        Some(left(limit, log))
    });
    volumes.chain(whole).chain(containers).min()
}

/// Whether all volumes of the pod that lie on the node's disk were counted.
pub(super) fn is_counted(used: &PodUse) -> bool {
    let mut volumes = used.storage.iter().flat_map(|storage| &storage.volumes);
    volumes.all(|volume| !volume.is_ephemeral || volume.is_counted)
}
