//! What `/images` answers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::collection::WhyKept;
use crate::model::image_progress::Progress;

/// `GET /images`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageList {
    /// The images, sorted by name.
    pub items: Vec<ListedImage>,
}

/// An image that the runtime has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedImage {
    /// Its ID.
    pub id: String,
    /// Its full names with tags.
    pub names: Vec<String>,
    /// Its full names with digests.
    pub digests: Vec<String>,
    /// Its size in bytes, as the runtime counts it.
    pub size: u64,
    /// Whether the runtime keeps it from being removed as unused.
    pub pinned: bool,
    /// `namespace/name` of the pods that have a container of it.
    pub pods: Vec<String>,
    /// When the agent first saw it; `None` if it has not yet.
    #[serde(default)]
    pub detected: Option<Timestamp>,
    /// When a container was last seen to use it; `None`: never since the agent started.
    #[serde(default)]
    pub last_used: Option<Timestamp>,
    /// When unused images are removed: after how many others it goes.
    #[serde(default)]
    pub goes_after: Option<u32>,
    /// Why it is not removed then.
    #[serde(default)]
    pub kept: Option<WhyKept>,
}

/// The answer to `POST /images/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pruned {
    /// The images that were removed.
    pub removed: Vec<PrunedImage>,
    /// Their sizes together, in bytes.
    pub bytes: u64,
    /// The images that could not be removed.
    pub failed: Vec<NotPruned>,
}

/// An image that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrunedImage {
    /// Its ID.
    pub id: String,
    /// Its full names.
    pub names: Vec<String>,
    /// Its size in bytes.
    pub size: u64,
}

/// An image that could not be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotPruned {
    /// The image.
    pub image: PrunedImage,
    /// What the runtime says.
    pub why: String,
}

/// One line of the answers to `POST /images/pull` and `POST /images/import`. The last line is `done` or `failed`; a stream
/// that ends without one was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Line {
    /// How far it has come.
    Progress(Progress),
    /// The images that the runtime has now.
    Done(Vec<ArrivedImage>),
    /// Why it failed, and what to do.
    Failed(String),
}

/// An image that the runtime has now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArrivedImage {
    /// Its full names.
    pub names: Vec<String>,
    /// The runtime's reference to it.
    pub reference: String,
    /// Its size in bytes; 0 if the runtime does not say.
    pub size: u64,
    /// Whether the runtime had it before.
    pub was_there: bool,
}
