//! The objects that pods refer to, such as ConfigMaps and Secrets: what a source knows about them, by kind, namespace
//! and name.
//!
//! They come from the manifests directory, or from the API, where [`super::reference`] says which ones to watch.
//! Nothing in this module prints an object's content.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::pod::{PodName, PodUid};

/// The kinds of objects that pods refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `ConfigMap`
    ConfigMap,
    /// `Secret`
    Secret,
}

impl ObjectKind {
    /// The name as it stands in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            ObjectKind::ConfigMap => "ConfigMap",
            ObjectKind::Secret => "Secret",
        }
    }

    /// The word for the kind in the kubelet's message about a missing object: `configmap "a" not found`.
    pub fn word(self) -> &'static str {
        match self {
            ObjectKind::ConfigMap => "configmap",
            ObjectKind::Secret => "secret",
        }
    }
}

/// The key of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind.
    pub kind: ObjectKind,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// The key of a service account token: the pod it is bound to, and what was requested.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey {
    /// The pod that it is bound to.
    pub pod: PodName,
    /// The pod's UID: a pod recreated under the same name gets its own token.
    pub uid: PodUid,
    /// `spec.serviceAccountName`
    pub account: String,
    /// The audience; `None`: the API server.
    pub audience: Option<String>,
    /// The requested validity in seconds.
    pub seconds: i64,
}

impl TokenKey {
    /// Its key in [`Object::data`].
    pub const DATA: &'static str = "token";
}

/// The key of trust anchors: certificates in ClusterTrustBundles.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustAnchors {
    /// The bundle of this name.
    Named(String),
    /// All bundles of a signer that have these labels.
    Signed {
        /// The signer's name.
        signer: String,
        /// Which of its bundles.
        labels: Selection,
    },
}

/// Which objects labels select.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Selection {
    /// None: nothing was stated.
    Nothing,
    /// The objects that this `labelSelector` selects, in the API server's syntax; empty selects all.
    Those(String),
}

impl TrustAnchors {
    /// Their key in [`Object::data`].
    pub const DATA: &'static str = "trustBundle";

    /// The kubelet's message when there are none.
    pub fn missing(&self) -> String {
        match self {
            TrustAnchors::Named(name) => {
                format!(
                    "while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io {name:?} not found"
                )
            }
            TrustAnchors::Signed { .. } => {
                "combination of signerName and labelSelector matched zero ClusterTrustBundles".to_owned()
            }
        }
    }
}

/// A reference from a pod to an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A ConfigMap or a Secret.
    Object(ObjectKey),
    /// A token made for the pod.
    Token(TokenKey),
    /// A RuntimeClass, by name. Its [`Object`] has one value, [`HANDLER`].
    RuntimeClass(String),
    /// Trust anchors. Their [`Object`] has one value, [`TrustAnchors::DATA`].
    TrustAnchors(TrustAnchors),
}

/// The key of the handler in a RuntimeClass's [`Object::data`].
pub const HANDLER: &str = "handler";

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Object(key) => key.fmt(f),
            Reference::RuntimeClass(name) => write!(f, "RuntimeClass {name}"),
            Reference::TrustAnchors(TrustAnchors::Named(name)) => write!(f, "ClusterTrustBundle {name}"),
            Reference::TrustAnchors(TrustAnchors::Signed { signer, .. }) => {
                write!(f, "ClusterTrustBundles of signer {signer}")
            }
            Reference::Token(key) => {
                let (namespace, account) = (&key.pod.namespace, &key.account);
                write!(
                    f,
                    "service account token of {namespace}/{account} for {}",
                    key.pod
                )
            }
        }
    }
}

/// Content; shared, and printed only as its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(pub Arc<[u8]>);

impl Content {
    /// The content as text; invalid UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Content {
        Content(bytes.into())
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Content {
        Content(text.as_bytes().into())
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

/// A ConfigMap or a Secret. Printing it shows only keys and lengths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Object {
    /// `data`, decoded; for a Secret merged with `stringData`.
    pub data: BTreeMap<String, Content>,
    /// `binaryData` of a ConfigMap; available to volumes, not to the environment.
    pub binary: BTreeMap<String, Content>,
    /// `type` of a Secret; may be empty.
    pub secret_type: String,
    /// `immutable`: it does not change until it is deleted.
    pub immutable: bool,
    /// `metadata.uid` of a Secret from the API server; empty for one from the manifests directory.
    pub uid: String,
}

impl Object {
    /// Every key with its content, as a volume shows it.
    pub fn files(&self) -> impl Iterator<Item = (&String, &Content)> {
        self.data.iter().chain(&self.binary)
    }

    /// The content of a key, as a volume shows it.
    pub fn file(&self, key: &str) -> Option<&Content> {
        self.data.get(key).or_else(|| self.binary.get(key))
    }
}

/// What is known about a referenced object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It exists.
    Found(Arc<Object>),
    /// It was requested and there is no answer yet: whether it exists is unknown.
    Asked,
    /// It could never be read; the reason, for people.
    Unread(Arc<str>),
}

impl Known {
    /// Whether both are the same value, without comparing their contents.
    pub fn is_same(&self, other: &Known) -> bool {
        match (self, other) {
            (Known::Found(a), Known::Found(b)) => Arc::ptr_eq(a, b),
            (Known::Asked, Known::Asked) => true,
            (Known::Unread(a), Known::Unread(b)) => a == b,
            _ => false,
        }
    }
}

/// The objects that a source knows; an object that is not listed does not exist. Unchanged objects keep their `Arc`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Objects(pub BTreeMap<Reference, Known>);

impl Objects {
    /// What is known about it; `None`: it does not exist.
    pub fn get(&self, key: &Reference) -> Option<&Known> {
        self.0.get(key)
    }

    /// Whether it was requested and there is no answer yet.
    pub fn is_asked(&self, key: &Reference) -> bool {
        matches!(self.get(key), Some(Known::Asked))
    }

    /// Whether both have the same values, without comparing their contents.
    pub fn is_same(&self, other: &Objects) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|(a, b)| a.0 == b.0 && a.1.is_same(b.1))
    }

    /// The keys of objects that appeared, changed or disappeared since `before`.
    pub fn changed_since(&self, before: &Objects) -> BTreeSet<Reference> {
        let differs = |key: &&Reference| match (self.get(key), before.get(key)) {
            (Some(now), Some(then)) => !now.is_same(then),
            _ => true,
        };
        self.0
            .keys()
            .chain(before.0.keys())
            .filter(differs)
            .cloned()
            .collect()
    }
}

/// A file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectedFile {
    /// Its permissions.
    pub mode: u32,
    /// The owner, if not root.
    pub owner: Option<u32>,
    /// What is in it.
    pub content: Content,
}

impl ProjectedFile {
    /// A file of root's.
    pub fn of_root(mode: u32, content: Content) -> ProjectedFile {
        ProjectedFile {
            mode,
            owner: None,
            content,
        }
    }
}

/// The files of a volume, by path: relative, without `..`, none at a place where another has a directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload(pub BTreeMap<String, ProjectedFile>);

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Reference {
        Reference::Object(ObjectKey {
            kind: ObjectKind::Secret,
            namespace: "ns".to_owned(),
            name: name.to_owned(),
        })
    }

    #[test]
    fn nothing_prints_a_content() {
        let object = Object {
            data: BTreeMap::from([("password".to_owned(), Content::from("hunter2"))]),
            ..Object::default()
        };
        let objects = Objects(BTreeMap::from([(key("s"), Known::Found(Arc::new(object)))]));
        let text = format!("{objects:?} {objects:#?}");
        assert!(text.contains("password") && text.contains("<7 bytes>"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("104"), "{text}");
    }

    #[test]
    fn what_appeared_changed_or_went_is_told() {
        let (same, old, new) = (
            Known::Found(Arc::default()),
            Known::Found(Arc::default()),
            Known::Found(Arc::default()),
        );
        let before = Objects(BTreeMap::from([
            (key("same"), same.clone()),
            (key("changed"), old.clone()),
            (key("gone"), old),
        ]));
        let now = Objects(BTreeMap::from([
            (key("same"), same),
            (key("changed"), new.clone()),
            (key("new"), new),
        ]));
        let changed = now.changed_since(&before);
        assert_eq!(changed, ["changed", "gone", "new"].map(key).into());
        assert!(!now.is_same(&before) && now.is_same(&now.clone()));
    }
}
