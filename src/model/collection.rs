//! Images that nothing uses, and what is done about them: values of the decision (`plan/node/images`), of the removal
//! (`act/collect`) and of what people are told.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::pod::{PodName, PodUid};
use super::resources::Bytes;
use super::step::Step;

/// Images that something on the node provides, by their full names. They stay though no container uses them: no registry
/// need have them, and an archive is imported only when it appears, or when the agent starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provided {
    /// The names of the image that sandboxes are made of. Not every runtime reports it as pinned.
    pub sandbox: BTreeSet<String>,
    /// The names in the archives of the images directory.
    pub archives: BTreeSet<String>,
}

/// Why images are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectionCause {
    /// Their file system is used to `imageGCHighThresholdPercent`.
    Threshold,
    /// They have not been used for `imageMaximumGCAge`.
    Age,
    /// The node lacks room.
    Pressure,
    /// A person asks for it.
    Asked,
}

impl CollectionCause {
    /// The reason in the metric `kubelet_image_garbage_collected_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            CollectionCause::Age => "age",
            CollectionCause::Threshold | CollectionCause::Pressure | CollectionCause::Asked => "space",
        }
    }
}

/// What is to be removed now.
#[derive(Debug, Clone)]
pub struct Collection {
    /// The images, in this order.
    pub images: Vec<UnusedImage>,
    /// The ended pods whose containers are removed. Images that only those use are decided on afterwards.
    pub containers: Vec<EndedPod>,
    /// Why.
    pub why: CollectionCause,
    /// With the causes [`CollectionCause::Pressure`] and [`CollectionCause::Asked`]: the moment since which it is wanted.
    /// It identifies the request; by the clock a later one need not have a later moment.
    pub serves: Option<Timestamp>,
    /// With the cause [`CollectionCause::Threshold`]: how much room is wanted. Further images stay when it is made.
    pub wanted: Option<WantedRoom>,
}

/// How much room is wanted on the images' file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedRoom {
    /// Bytes, counted by the sizes of images, as the kubelet does.
    pub bytes: u64,
    /// How much of the file system is used.
    pub used_percent: i64,
    /// The size of the file system.
    pub capacity: Bytes,
}

impl WantedRoom {
    /// The kubelet's message where less was freed.
    pub fn insufficient(&self, freed: u64) -> String {
        format!(
            "Insufficient free disk space on the node's image filesystem ({}% of {} used). Failed to free sufficient space \
             by deleting unused images (freed {freed} bytes). Investigate disk usage, as it could be used by active images, \
             logs, volumes, or other data.",
            self.used_percent,
            rounded(self.capacity)
        )
    }
}

/// A size as the kubelet prints it (`formatSize` in `pkg/kubelet/images/image_gc_manager.go`).
#[expect(clippy::cast_precision_loss, reason = "it is rounded to a tenth")]
fn rounded(size: Bytes) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if size.0 < 1024 {
        return format!("{} B", size.0);
    }
    let mut number = size.0 as f64 / 1024.0;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < units.len() {
        number /= 1024.0;
        unit += 1;
    }
    format!("{number:.1} {}", units[unit])
}

/// An image that may be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedImage {
    /// Its ID.
    pub id: String,
    /// Its full names with tags and those with digests.
    pub names: Vec<String>,
    /// Its size in bytes.
    pub size: u64,
}

/// A pod whose end the API server has, with the removal of its containers and sandboxes.
#[derive(Debug, Clone)]
pub struct EndedPod {
    /// Its name.
    pub pod: PodName,
    /// Its UID.
    pub uid: PodUid,
    /// The removal.
    pub stages: Vec<Vec<Step>>,
}

/// What a collection brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// When it ended.
    pub at: Timestamp,
    /// The images that were removed.
    pub images: Vec<UnusedImage>,
    /// Their sizes together.
    pub bytes: u64,
    /// The images that could not be removed, and why.
    pub failures: Vec<(UnusedImage, String)>,
}

impl Collected {
    /// Nothing, at that time.
    pub fn at(at: Timestamp) -> Collected {
        Collected {
            at,
            images: Vec::new(),
            bytes: 0,
            failures: Vec::new(),
        }
    }
}

/// The kubelet's message about a file system of images that has no size.
pub const NO_CAPACITY: &str = "invalid capacity 0 on image filesystem";

/// What the node's events tell about the collection of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CollectionNews {
    /// The images' file system has no size.
    InvalidCapacity,
    /// Less room was made than was wanted.
    Insufficient {
        /// What was wanted.
        wanted: WantedRoom,
        /// The bytes that were freed.
        freed: u64,
    },
    /// A collection failed, and so did the one before it.
    FailedAgain(String),
}

/// What the agent knows of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedImage {
    /// The image.
    pub image: UnusedImage,
    /// When the agent first saw it.
    pub detected: Timestamp,
    /// When a container was last seen to use it.
    pub last_used: Option<Timestamp>,
    /// Whether it may be removed.
    pub fate: Fate,
}

/// Whether an image may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It may: after so many others.
    Goes(u32),
    /// It stays.
    Stays(WhyKept),
}

/// Why an image stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WhyKept {
    /// A container uses it, running or not.
    InUse,
    /// A pod names it that has no container of it yet.
    Named,
    /// The runtime has pinned it.
    Pinned,
    /// Sandboxes are made of it.
    Sandbox,
    /// An archive of the images directory contains it.
    Archive,
    /// The agent has known it for less than `imageMinimumGCAge`.
    New,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_as_by_the_kubelet() {
        let check = |size: i64, expected: &str| assert_eq!(rounded(Bytes(size)), expected);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1536, "1.5 KiB");
        check(100 << 30, "100.0 GiB");
        check(3 << 50, "3072.0 TiB");
    }
}
