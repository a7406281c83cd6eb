//! What was read, with the manifest that makes it again.

use crate::model::object::{Object, ObjectKey};
use crate::model::pod::Pod;

/// A pod with the manifest that reproduces it.
#[derive(Debug)]
pub(crate) struct ReadPod {
    /// The pod.
    pub(crate) pod: Pod,
    /// Its object as written, as JSON: read again for the same file, it makes the same pod.
    pub(crate) json: String,
}

/// A ConfigMap or a Secret with the manifest that reproduces it.
#[derive(Debug)]
pub(crate) struct ReadObject {
    /// Its kind, namespace and name.
    pub(crate) key: ObjectKey,
    /// The object.
    pub(crate) object: Object,
    /// Its document within the file, from 1.
    pub(crate) document: usize,
    /// The object as JSON.
    pub(crate) json: Json,
}

/// An object as JSON, which may contain a secret and is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Json(pub(crate) std::sync::Arc<str>);

impl std::fmt::Debug for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}
