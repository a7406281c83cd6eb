//! Why containers wait for volumes that are images (`toKubeContainerImageVolumes` in
//! `pkg/kubelet/kuberuntime/kuberuntime_manager.go`).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::memory::{FailedWork, PodFailure, PodMemory};
use crate::model::pod::{Container, Pod};
use crate::model::reason::waiting;

/// How long a failed pull is reported before the back-off is: the kubelet looks again after ten seconds.
pub(super) const PULL_FAILURE_SHOWN: Duration = Duration::from_secs(9);

/// The volumes of a pod whose images could not be had, each with its image.
pub(super) fn failed<'a>(pod: &'a Pod, memory: &'a PodMemory) -> Vec<(&'a str, &'a str, &'a PodFailure)> {
    let failures = memory.failures.iter().filter_map(|(work, failure)| match work {
        FailedWork::ImageVolume(volume) => Some((volume.as_str(), failure)),
        _ => None,
    });
    let failures: BTreeMap<&str, &PodFailure> = failures.collect();
    if failures.is_empty() {
        return Vec::new();
    }
    let images = pod.image_volumes().into_iter();
    let failed = images.filter_map(|(volume, image)| Some((volume, image.reference, *failures.get(volume)?)));
    failed.collect()
}

/// Reason and message of a container that waits for the image of a volume: for the last of them that it mounts.
pub(super) fn why_it_waits(
    pod: &Pod,
    memory: &PodMemory,
    container: &Container,
    now: Timestamp,
) -> Option<(&'static str, String)> {
    let place = |volume: &str| container.mounts.iter().rposition(|mount| mount.volume == volume);
    let waiting = failed(pod, memory)
        .into_iter()
        .filter_map(|failed| Some((place(failed.0)?, failed)));
    let (_, (_, image, failure)) = waiting.max_by_key(|(place, _)| *place)?;
    let error = &failure.error;
    Some(match shows_back_off(failure) {
        Some(from) if from <= now => {
            let message = format!(
                "Back-off pulling image {image:?}: {}: {}",
                error.reason, error.message
            );
            (waiting::IMAGE_PULL_BACK_OFF, message)
        }
        _ => (error.reason, error.message.clone()),
    })
}

/// From when on the back-off of a pull is reported, and no longer its failure; `None`: there was no pull.
pub(super) fn shows_back_off(failure: &PodFailure) -> Option<Timestamp> {
    let is_pull = failure.error.is_failed_pull();
    is_pull.then(|| failure.backoff.since + PULL_FAILURE_SHOWN)
}
