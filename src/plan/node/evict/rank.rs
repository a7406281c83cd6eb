//! Which pod has to go first (Kubernetes: *Node-pressure Eviction*, "Pod selection for kubelet eviction";
//! `pkg/kubelet/eviction/helpers.go`): one that uses more than it requests, then one of lower priority, then the one that
//! uses most beyond its request. A pod of which nothing is known comes first.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::model::amounts::{Overhead, pod_requests};
use crate::model::eviction::{Signal, Starved};
use crate::model::measured::DiskLayout;
use crate::model::pod::Pod;
use crate::model::pods_use::{PodUse, PodsUse};
use crate::model::stats::DirectoryUsage;

/// What of a pod lies on the file system of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts {
    /// What containers wrote into their root file systems.
    layers: bool,
    /// Logs and volumes.
    rest: bool,
}

/// Sorts the pods, the one that goes first at the front; pods of which the same is known stay in their order.
pub(super) fn rank(pods: &mut [Arc<Pod>], signal: Signal, disks: DiskLayout, used: &PodsUse) {
    pods.sort_by_cached_key(|pod| {
        let priority = pod.priority.unwrap_or(0);
        // Priority comes before everything for processes.
        let is_of_pids = signal.starved() == Starved::Pids;
        let Some(own) = used.pods.get(&pod.uid) else {
            return (is_of_pids, false, priority, false, Reverse(0));
        };
        let (used, request) = amounts(pod, own, signal, disks);
        let is_within = !is_of_pids && used <= request;
        let beyond = used.saturating_sub(request);
        (true, is_within, priority, true, Reverse(beyond))
    });
}

/// What the pod uses of what is starved, and how much of it is its own by request.
fn amounts(pod: &Pod, used: &PodUse, signal: Signal, disks: DiskLayout) -> (i64, i64) {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let requests = || pod_requests(pod, Overhead::With);
    let on_disk = || on_disk(used, parts(signal, disks));
    match signal.starved() {
        Starved::Memory => (signed(used.working_set), requests().memory_or_zero()),
        Starved::Pids => (signed(used.processes), 0),
        Starved::Storage => {
            let request = requests().ephemeral_storage.map_or(0, |bytes| bytes.0);
            (signed(on_disk().bytes), request)
        }
        // Nobody requests inodes. (The kubelet subtracts the requested bytes.)
        Starved::Inodes => (signed(on_disk().inodes), 0),
    }
}

/// `buildSignalToRankFunc`
fn parts(signal: Signal, disks: DiskLayout) -> Parts {
    let is_images = matches!(signal, Signal::Imagefs | Signal::ImagefsInodes);
    match disks {
        DiskLayout::Shared => Parts {
            layers: true,
            rest: true,
        },
        DiskLayout::Images => Parts {
            layers: is_images,
            rest: !is_images,
        },
        // Nothing that a pod writes lies beside the images.
        DiskLayout::Split => Parts {
            layers: !is_images,
            rest: !is_images,
        },
    }
}

fn on_disk(used: &PodUse, parts: Parts) -> DirectoryUsage {
    let Some(storage) = &used.storage else {
        return DirectoryUsage::default();
    };
    let layers = storage.layers.values().filter(|_| parts.layers);
    let logs = storage.logs.values();
    let volumes = storage.volumes.iter().filter(|volume| volume.is_ephemeral);
    let rest = logs
        .chain(volumes.map(|volume| &volume.used))
        .filter(|_| parts.rest);
    layers
        .chain(rest)
        .fold(DirectoryUsage::default(), |sum, one| DirectoryUsage {
            bytes: sum.bytes.saturating_add(one.bytes),
            inodes: sum.inodes.saturating_add(one.inodes),
        })
}
