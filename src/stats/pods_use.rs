//! What each pod uses, measured when loop 1 wants it to decide which of them has to go.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::depth::Depth;
use super::sampler::Handle;
use super::storage::StorageHandle;
use crate::model::pods_use::{ContainerUse, PodUse, PodsUse, Wanted};
use crate::model::stats::{CgroupSample, NodeSample, PodSample, Storage};

/// How old the numbers of disks may be.
const FRESH: Duration = Duration::from_millis(500);

/// How soon a measurement that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Whether what was measured last is too old, or of before the clock was set back.
fn is_outstanding(want: &Wanted, out: &watch::Sender<Arc<PodsUse>>) -> bool {
    let last = out.borrow().at;
    let is_fresh = |since| last >= since && last <= Timestamp::now();
    want.pods_since.is_some_and(|since| !is_fresh(since))
}

/// Measures whenever it is wanted, until canceled.
pub async fn run_pods_use(
    (samples, storage): (Handle, StorageHandle),
    mut wanted: watch::Receiver<Wanted>,
    out: watch::Sender<Arc<PodsUse>>,
    cancel: CancellationToken,
) {
    loop {
        let want = wanted.borrow_and_update().clone();
        if is_outstanding(&want, &out) {
            // Cancel-safe: what was measured is asked for again.
            let measured = tokio::select! {
                () = cancel.cancelled() => return,
                measured = measure(&samples, &storage, &want) => measured,
            };
            if let Some(measured) = measured {
                out.send_replace(Arc::new(measured));
            }
        }
        let has_failed = is_outstanding(&want, &out);
        // All arms only wait.
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = wanted.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY), if has_failed => {}
        }
    }
}

/// `None`: the kernel does not show the machine's counters, or the agent ends.
async fn measure(samples: &Handle, storage: &StorageHandle, want: &Wanted) -> Option<PodsUse> {
    let at = Timestamp::now();
    let sample = samples.sample(Duration::ZERO, Depth::Counters).await.ok()??;
    let storage = match want.with_storage {
        true => Some(
            storage
                .get_within(&sample, FRESH, want.walked.clone())
                .await
                .ok()?,
        ),
        false => None,
    };
    Some(pods_use(at, &sample, storage.as_deref()))
}

fn pods_use(at: Timestamp, sample: &NodeSample, storage: Option<&Storage>) -> PodsUse {
    let pods = sample.pods.iter().map(|pod| {
        let storage = storage.and_then(|storage| storage.pods.get(&pod.uid).cloned());
        let of_pod = PodUse {
            storage,
            ..pod_use(pod)
        };
        (pod.uid.clone(), of_pod)
    });
    PodsUse {
        at,
        pods: pods.collect(),
    }
}

fn pod_use(pod: &PodSample) -> PodUse {
    let memory = |cgroup: &Option<CgroupSample>| {
        let memory = cgroup.as_ref()?.usage.memory.as_ref()?;
        Some(memory.working_set)
    };
    let all = pod.containers.iter().chain([&pod.sandbox]);
    let of_all = || {
        all.clone()
            .filter_map(|container| memory(&container.cgroup))
            .sum()
    };
    let processes = all.clone().filter_map(|container| container.cgroup.as_ref());
    PodUse {
        // A pod without a cgroup of its own uses what its containers use.
        working_set: memory(&pod.cgroup).unwrap_or_else(of_all),
        processes: processes.map(|cgroup| cgroup.processes.count).sum(),
        containers: pod
            .containers
            .iter()
            .map(|container| {
                let of_container = ContainerUse {
                    id: container.id.clone(),
                    working_set: memory(&container.cgroup),
                };
                (container.name.clone(), of_container)
            })
            .collect(),
        storage: None,
    }
}
