//! What a pod is known by: its name in its namespace, and its UID.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Namespace and name: the node's key for a pod. Two pods of one name never run at the same time: the old UID is gone
/// before the new one starts.
///
/// It is the key of every map that modules exchange: clones share the text, and shared texts compare by pointer.
#[derive(Clone)]
pub struct PodName(Arc<NameParts>);

/// The parts of a [`PodName`]; the order of fields defines the order of names.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameParts {
    /// The namespace; `default` if the manifest states none.
    pub namespace: String,
    /// The name; a static pod's ends in `-<node name>`.
    pub name: String,
}

impl PodName {
    /// Creates the name from namespace and name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> PodName {
        PodName(Arc::new(NameParts {
            namespace: namespace.into(),
            name: name.into(),
        }))
    }

    /// The name of an object; missing parts are empty.
    pub fn of(metadata: &ObjectMeta) -> PodName {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        PodName::new(text(&metadata.namespace), text(&metadata.name))
    }
}

impl Deref for PodName {
    type Target = NameParts;

    fn deref(&self) -> &NameParts {
        &self.0
    }
}

impl PartialEq for PodName {
    fn eq(&self, other: &PodName) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for PodName {}

impl Ord for PodName {
    fn cmp(&self, other: &PodName) -> Ordering {
        match Arc::ptr_eq(&self.0, &other.0) {
            true => Ordering::Equal,
            false => self.0.cmp(&other.0),
        }
    }
}

impl PartialOrd for PodName {
    fn partial_cmp(&self, other: &PodName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for PodName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The pod's UID: from the API server, or for a static pod a hash of content, node name and file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUid(pub String);

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
