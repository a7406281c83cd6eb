//! Reads manifests: the bytes of a file become validated pods, or problems with line, field and remedy.
//!
//! Pure: no file is opened here and no clock is read. The steps follow the order of the modules: text, tree, Kubernetes
//! types, unsupported fields, defaults, validation, and the pod as the node understands it. Nothing here executes,
//! resolves or fetches anything that a manifest names.

mod path;
mod context;
mod read;
mod yaml;
mod decode;
mod documents;
pub(crate) mod names;
mod quantities;
mod go_quantity;
mod image;
mod defaults;
mod pod_resources;
mod field_value;
mod validate;
pub(crate) mod convert;
mod uid;
mod static_pod;
mod api_pod;
mod added;
pub mod edit;

#[cfg(test)]
mod tests;

use std::path::Path;

use jiff::Timestamp;

use crate::model::pod::{Pod, Problem};

pub use added::add as add_ephemeral;
pub use api_pod::{check_identity, read as read_api_pod};
pub use context::{ManifestContext, RestartAll, RuntimeClasses};
pub(crate) use decode::object::key_complaint;
pub(crate) use read::{Json, ReadObject, ReadPod};
pub(crate) use static_pod::{name as static_pod_name, seen_at};
pub use yaml::text::{MOST_BYTES, too_large};

/// Reads the pods of one file. A problem in one document does not affect the others.
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

pub(crate) use documents::{Content, read as read_with_content};
