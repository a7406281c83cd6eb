//! What `/images` answers.

use serde::{Deserialize, Serialize};

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
