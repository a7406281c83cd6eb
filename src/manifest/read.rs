//! What was read, with the manifest that makes it again.

use crate::model::object::{Object, ObjectKey};
use crate::model::pod::Pod;

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
