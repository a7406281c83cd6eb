//! ConfigMaps, Secrets and their like, as far as pods use them: what a source knows of them, by kind, namespace and name.
//!
//! Where they come from is no matter here: files of the manifests directory, or the API asked for what
//! [`super::reference`] names. Nothing of this module shows a content when it is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::pod::{PodName, PodUid};

/// The kinds of objects that pods take values from.
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

    /// The word that the kubelet's messages have for it where it is missing: `configmap "a" not found`.
    pub fn word(self) -> &'static str {
        match self {
            ObjectKind::ConfigMap => "configmap",
            ObjectKind::Secret => "secret",
        }
    }
}

/// What an object is known by.
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

/// What a token of a service account is known by: whom it is bound to, and what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey {
    /// The pod that it is bound to.
    pub pod: PodName,
    /// The pod's UID: one made again under the same name gets a token of its own.
    pub uid: PodUid,
    /// `spec.serviceAccountName`
    pub account: String,
    /// Who will be shown it; `None`: the API server.
    pub audience: Option<String>,
    /// How long it shall be valid.
    pub seconds: i64,
}

impl TokenKey {
    /// The name under which [`Object::data`] has it.
    pub const DATA: &'static str = "token";
}

/// What trust anchors are known by: certificates that ClusterTrustBundles hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrustAnchors {
    /// Those of the bundle of this name.
    Named(String),
    /// Those of all bundles of a signer that have these labels.
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
    /// Those that the API server's `labelSelector` finds, written so; all where it is empty.
    Those(String),
}

impl TrustAnchors {
    /// The name under which [`Object::data`] has them.
    pub const DATA: &'static str = "trustBundle";

    /// What is said where there are none: the kubelet's words.
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

/// What a pod takes values from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A ConfigMap or a Secret.
    Object(ObjectKey),
    /// A token made for the pod.
    Token(TokenKey),
    /// A RuntimeClass, by its name. As an object it has one value, [`HANDLER`].
    RuntimeClass(String),
    /// Trust anchors. As an object they are one value, [`TrustAnchors::DATA`].
    TrustAnchors(TrustAnchors),
}

/// The name under which [`Object::data`] of a RuntimeClass has its handler.
pub const HANDLER: &str = "handler";

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Object(key) => key.fmt(f),
            Reference::RuntimeClass(name) => write!(f, "RuntimeClass {name}"),
            Reference::TrustAnchors(TrustAnchors::Named(name)) => write!(f, "ClusterTrustBundle {name}"),
            Reference::TrustAnchors(TrustAnchors::Signed { signer, .. }) => {
                write!(f, "ClusterTrustBundles of {signer}")
            }
            Reference::Token(key) => {
                let (namespace, account) = (&key.pod.namespace, &key.account);
                write!(f, "token of {namespace}/{account} for {}", key.pod)
            }
        }
    }
}

/// Some content; shared, and printed as its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(pub Arc<[u8]>);

impl Content {
    /// The content as text; what is not UTF-8 is replaced.
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

/// A ConfigMap or a Secret. Printing it shows keys and lengths alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Object {
    /// `data`, decoded; of a Secret with `stringData`.
    pub data: BTreeMap<String, Content>,
    /// `binaryData` of a ConfigMap, which volumes see and the environment does not.
    pub binary: BTreeMap<String, Content>,
    /// `type` of a Secret; empty where it has none.
    pub secret_type: String,
    /// `immutable`: it stays as it is until it is deleted.
    pub immutable: bool,
    /// `metadata.uid` of a Secret of the API server; empty where it has none: a manifest's has none.
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

/// What is known of an object that somebody refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It is there.
    Found(Arc<Object>),
    /// It was asked for and nothing is answered yet: whether there is one is not known.
    Asked,
    /// It cannot be read, and never was: why, in a sentence for people.
    Unread(Arc<str>),
}

impl Known {
    /// Whether both are the same value, without comparing contents.
    pub fn is_same(&self, other: &Known) -> bool {
        match (self, other) {
            (Known::Found(a), Known::Found(b)) => Arc::ptr_eq(a, b),
            (Known::Asked, Known::Asked) => true,
            (Known::Unread(a), Known::Unread(b)) => a == b,
            _ => false,
        }
    }
}

/// The objects that a source knows; one that is not named here does not exist. What did not change is the same value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Objects(pub BTreeMap<Reference, Known>);

impl Objects {
    /// What is known of it; `None`: there is none.
    pub fn get(&self, key: &Reference) -> Option<&Known> {
        self.0.get(key)
    }

    /// Whether it was asked for and nothing is answered.
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

    /// The keys of what has appeared, changed or gone since.
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
    /// The user that it belongs to, where not root.
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
