//! Images for containers (`pkg/kubelet/images`).

use std::time::Duration;

use super::buckets;
use super::family::{Counter, Distribution, Family, Gauge, Head, Label};
use crate::model::collection::CollectionCause;
use crate::model::pod::PullPolicy;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Above which size in bytes an image has which label.
const SIZES: [(u64, &str); 12] = [
    (100 * GIB, "GT100GB"),
    (60 * GIB, "60GB-100GB"),
    (40 * GIB, "40GB-60GB"),
    (30 * GIB, "30GB-40GB"),
    (20 * GIB, "20GB-30GB"),
    (10 * GIB, "10GB-20GB"),
    (5 * GIB, "5GB-10GB"),
    (GIB, "1GB-5GB"),
    (500 * MIB, "500MB-1GB"),
    (100 * MIB, "100MB-500MB"),
    (10 * MIB, "10MB-100MB"),
    (0, "0-10MB"),
];

/// What became of the request for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnsureImage {
    /// It was present and could be used.
    Present,
    /// It had to be pulled, and whether it was present is not known (`Always`).
    Pull,
    /// It was not present, or may not be used, and had to be pulled.
    Missing,
    /// It was not present, or may not be used, and must not be pulled.
    Never,
    /// It is not known whether it is present.
    Unknown,
}

/// Requests for images, and pulls.
#[derive(Debug)]
pub struct Images {
    ensured: Counter<3>,
    pull_seconds: Distribution<1>,
    checks: Counter<1>,
    collected: Counter<1>,
    volumes: Counter<0>,
    volume_mounts: Counter<0>,
    volume_mount_errors: Counter<0>,
    intents: Gauge<0>,
    records: Gauge<0>,
}

fn collected() -> Counter<1> {
    Counter::new(Head {
        name: "kubelet_image_garbage_collected_total",
        help: "How many images were removed because nothing used them, by whether that was for their age or to make room.",
        labels: ["reason"],
    })
}

impl Default for Images {
    fn default() -> Self {
        let gauge = |name, help| {
            Gauge::new(Head {
                name,
                help,
                labels: [],
            })
        };
        let counter = |name, help| {
            Counter::new(Head {
                name,
                help,
                labels: [],
            })
        };
        Images {
            ensured: Counter::new(Head {
                name: "kubelet_image_manager_ensure_image_requests_total",
                help: "How often the image of a container was to be ensured, by the pull policy, and by whether it was \
                       present and had to be pulled.",
                labels: ["pull_policy", "present_locally", "pull_required"],
            }),
            pull_seconds: Distribution::new(
                Head {
                    name: "kubelet_image_pull_duration_seconds",
                    help: "How long the pull of an image took in seconds, by the image's size.",
                    labels: ["image_size_in_bytes"],
                },
                buckets::PULL,
            ),
            checks: Counter::new(Head {
                name: "kubelet_imagemanager_image_mustpull_checks_total",
                help: "How often it was checked whether a pod may use an image that is present, by the result.",
                labels: ["result"],
            }),
            collected: collected(),
            volumes: counter(
                "kubelet_image_volume_requested_total",
                "How many images containers were to mount as volumes.",
            ),
            volume_mounts: counter(
                "kubelet_image_volume_mounted_succeed_total",
                "How many mounts of images as volumes did not fail.",
            ),
            volume_mount_errors: counter(
                "kubelet_image_volume_mounted_errors_total",
                "How many mounts of images as volumes the runtime could not make.",
            ),
            intents: gauge(
                "kubelet_imagemanager_ondisk_pullintents",
                "How many pulls are recorded on disk as having begun.",
            ),
            records: gauge(
                "kubelet_imagemanager_ondisk_pulledrecords",
                "How many pulled images are recorded on disk.",
            ),
        }
    }
}

impl Images {
    /// An image was to be ensured.
    pub fn ensured(&self, policy: PullPolicy, what: EnsureImage) {
        let policy = match policy {
            PullPolicy::Always => "always",
            PullPolicy::IfNotPresent => "ifnotpresent",
            PullPolicy::Never => "never",
        };
        let (present, pull) = match what {
            EnsureImage::Present => ("true", "false"),
            EnsureImage::Pull => ("unknown", "true"),
            EnsureImage::Missing => ("false", "true"),
            EnsureImage::Never => ("false", "unknown"),
            EnsureImage::Unknown => ("unknown", "unknown"),
        };
        self.ensured.count([policy, present, pull].map(Into::into));
    }

    /// An image of that many bytes was pulled.
    pub fn pulled(&self, bytes: u64, took: Duration) {
        let size = SIZES.iter().find(|(above, _)| bytes > *above);
        let label = size.map_or("N/A", |(_, label)| label);
        self.pull_seconds
            .observe([Label::from(label)], took.as_secs_f64());
    }

    /// Whether a pod may use an image was checked; `result` is the kubelet's name of what decided it.
    pub fn checked(&self, result: &'static str) {
        self.checks.count([result.into()]);
    }

    /// An unused image was removed.
    pub fn collected(&self, why: CollectionCause) {
        self.collected.count([why.as_str().into()]);
    }

    /// A container was to be created that mounts so many volumes that are images, with so many mounts.
    pub fn mounted(&self, volumes: usize, mounts: usize, failed: bool) {
        let count = |number| u64::try_from(number).unwrap_or(u64::MAX);
        let of_mounts = match failed {
            true => &self.volume_mount_errors,
            false => &self.volume_mounts,
        };
        self.volumes.add([], count(volumes));
        of_mounts.add([], count(mounts));
    }

    /// So many pulls have begun, and so many images are recorded as pulled.
    pub fn recorded(&self, intents: usize, records: usize) {
        self.intents.set([], intents as f64);
        self.records.set([], records as f64);
    }

    pub(super) fn families(&self) -> Vec<&dyn Family> {
        vec![
            &self.ensured,
            &self.pull_seconds,
            &self.checks,
            &self.collected,
            &self.volumes,
            &self.volume_mounts,
            &self.volume_mount_errors,
            &self.intents,
            &self.records,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_apart_by_size() {
        let check = |bytes, expected: &str| {
            let images = Images::default();
            images.pulled(bytes, Duration::from_secs(1));
            assert_eq!(images.pull_seconds.sample().samples[0].0, [expected], "{bytes}");
        };
        check(0, "N/A");
        check(1, "0-10MB");
        check(10 * MIB, "0-10MB");
        check(10 * MIB + 1, "10MB-100MB");
        check(200 * GIB, "GT100GB");
    }
}
