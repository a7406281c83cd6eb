//! A manifest to pods: the bytes of a file become validated pods, or problems that name line, field and remedy.
//!
//! Pure: no file is opened here and no clock is read. The order of the work is the order of the modules:
//! text, tree, Kubernetes' own types, what is refused, defaults, validation, and the pod as the node
//! understands it. Nothing here executes, resolves or fetches anything that a manifest names.

mod path;
mod yaml;
mod decode;
mod documents;
pub(crate) mod names;
mod quantity;
mod quantities;
mod go_quantity;
mod image;
mod defaults;
mod pod_resources;
mod field_value;
mod validate;
mod convert;
mod uid;
mod static_pod;
mod api_pod;

#[cfg(test)]
mod tests;

use std::path::Path;

use jiff::Timestamp;

use crate::model::object::{Object, ObjectKey};
use crate::model::pod::{Pod, Problem};

pub use api_pod::{check_identity, read as read_api_pod};
pub(crate) use decode::object::key_complaint;
pub(crate) use static_pod::seen_at;
pub use yaml::text::{MOST_BYTES, too_large};

/// What of the node's configuration a manifest is read against.
#[derive(Debug, Clone, Default)]
pub struct ManifestContext {
    /// The node's name: the suffix of its pods' names.
    pub node_name: String,
    /// Whether containers may be privileged. The kubelet has no setting against it any more.
    pub privileged_allowed: bool,
    /// `allowedUnsafeSysctls`: kernel parameters, or with a `*` at the end their beginnings.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// Where the RuntimeClasses of static pods are.
    pub classes: RuntimeClasses,
}

/// Where the RuntimeClasses of static pods are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RuntimeClasses {
    /// The API server is asked for them.
    Asked,
    /// There is no API server.
    #[default]
    Nowhere,
}

/// Reads the pods of one file. What is wrong with one document does not touch the others.
///
/// `path` is absolute: it is part of the pods' UIDs and named in the problems. `now` is when the content was seen.
pub fn read(
    bytes: &[u8],
    path: &Path,
    context: &ManifestContext,
    now: Timestamp,
) -> (Vec<Pod>, Vec<Problem>) {
    let content = documents::read(bytes, path, context, now);
    let pods = content.pods.into_iter().map(|read| read.pod).collect();
    (pods, content.problems)
}

/// A pod with the manifest that makes it again.
#[derive(Debug)]
pub(crate) struct ReadPod {
    /// The pod.
    pub(crate) pod: Pod,
    /// Its object as it was written, as JSON: read again for the same file it is the same pod.
    pub(crate) json: String,
}

/// A ConfigMap or a Secret with the manifest that makes it again.
#[derive(Debug)]
pub(crate) struct ReadObject {
    /// What it is known by.
    pub(crate) key: ObjectKey,
    /// The object.
    pub(crate) object: Object,
    /// Its document within the file, from 1.
    pub(crate) document: usize,
    /// The object as JSON.
    pub(crate) json: Json,
}

/// An object as JSON, which may hold a secret and is not printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Json(pub(crate) std::sync::Arc<str>);

impl std::fmt::Debug for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

pub(crate) use documents::{Content, read as read_with_content};
