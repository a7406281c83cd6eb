//! The objects that pods refer to, such as ConfigMaps and Secrets: what a source knows about them, by kind, namespace
//! and name.
//!
//! They come from the manifests directory, or from the API, where [`super::reference`] says which ones to watch. A reader
//! gets an object by its kind ([`lookup`]), so that it cannot mistake one kind for another. Nothing in this module prints
//! an object's content.
//!
//! Some refer to others: a claim to the volume that it is bound to, and that to its driver, its secrets and its
//! attachment. [`super::reference::all_references`] follows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use self::certificate::CertificateKey;
use self::content::Content;
use self::kinds::{ConfigMap, PodCertificate, RuntimeClass, Secret, Token, TrustBundle, Values};
use super::csi::{Attachment, AttachmentKey, CsiDriver};
use super::driver::Driver;
use super::persistent::{Claim, ClaimKey, PersistentVolume};
use super::pod::{PodName, PodUid};

pub mod certificate;
pub mod content;
pub mod kinds;
pub mod lookup;

/// The annotation of a Secret that is shown without its values, and what it says.
pub const HIDDEN_VALUES: (&str, &str) = ("gantry.dev/values", "not shown; the manifest has them");

/// The kinds of objects with values under keys, of which a pod may name either.
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
    /// A certificate issued for the pod.
    Certificate(CertificateKey),
    /// A RuntimeClass, by name.
    RuntimeClass(String),
    /// Trust anchors.
    TrustAnchors(TrustAnchors),
    /// A PersistentVolumeClaim.
    Claim(ClaimKey),
    /// A PersistentVolume, by name.
    PersistentVolume(String),
    /// A CSIDriver object, by name.
    CsiDriver(String),
    /// A CSI driver that is registered on the node, by name.
    Driver(String),
    /// That a volume is attached to the node.
    Attachment(AttachmentKey),
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Object(key) => key.fmt(f),
            Reference::RuntimeClass(name) => write!(f, "RuntimeClass {name}"),
            Reference::Claim(key) => write!(f, "PersistentVolumeClaim {key}"),
            Reference::PersistentVolume(name) => write!(f, "PersistentVolume {name}"),
            Reference::CsiDriver(name) => write!(f, "CSIDriver {name}"),
            Reference::Driver(name) => write!(f, "registered driver {name}"),
            Reference::Attachment(key) => write!(f, "VolumeAttachment {}", key.name()),
            Reference::TrustAnchors(TrustAnchors::Named(name)) => write!(f, "ClusterTrustBundle {name}"),
            Reference::TrustAnchors(TrustAnchors::Signed { signer, .. }) => {
                write!(f, "ClusterTrustBundles of signer {signer}")
            }
            Reference::Certificate(key) => {
                write!(f, "certificate of signer {} for {}", key.request.signer, key.pod)
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

/// An object that a pod refers to, as what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// Of a [`Reference::Object`] with [`ObjectKind::ConfigMap`].
    ConfigMap(ConfigMap),
    /// Of a [`Reference::Object`] with [`ObjectKind::Secret`].
    Secret(Secret),
    /// Of a [`Reference::Token`].
    Token(Token),
    /// Of a [`Reference::Certificate`].
    Certificate(PodCertificate),
    /// Of a [`Reference::RuntimeClass`].
    RuntimeClass(RuntimeClass),
    /// Of [`Reference::TrustAnchors`].
    TrustBundle(TrustBundle),
    /// Of a [`Reference::Claim`].
    Claim(Claim),
    /// Of a [`Reference::PersistentVolume`].
    PersistentVolume(PersistentVolume),
    /// Of a [`Reference::CsiDriver`].
    CsiDriver(CsiDriver),
    /// Of a [`Reference::Driver`].
    Driver(Arc<Driver>),
    /// Of a [`Reference::Attachment`].
    Attachment(Attachment),
}

impl Object {
    /// Whether it does not change until it is deleted.
    pub fn is_immutable(&self) -> bool {
        match self {
            Object::ConfigMap(map) => map.immutable,
            Object::Secret(secret) => secret.immutable,
            _ => false,
        }
    }

    /// Its values, where it is a ConfigMap or a Secret.
    pub fn values(&self) -> Option<Values<'_>> {
        match self {
            Object::ConfigMap(map) => Some(Values::ConfigMap(map)),
            Object::Secret(secret) => Some(Values::Secret(secret)),
            _ => None,
        }
    }

    fn is_of(&self, key: &Reference) -> bool {
        match (self, key) {
            (Object::ConfigMap(_), Reference::Object(key)) => key.kind == ObjectKind::ConfigMap,
            (Object::Secret(_), Reference::Object(key)) => key.kind == ObjectKind::Secret,
            (Object::Token(_), Reference::Token(_))
            | (Object::Certificate(_), Reference::Certificate(_))
            | (Object::RuntimeClass(_), Reference::RuntimeClass(_))
            | (Object::Claim(_), Reference::Claim(_))
            | (Object::PersistentVolume(_), Reference::PersistentVolume(_))
            | (Object::CsiDriver(_), Reference::CsiDriver(_))
            | (Object::Driver(_), Reference::Driver(_))
            | (Object::Attachment(_), Reference::Attachment(_))
            | (Object::TrustBundle(_), Reference::TrustAnchors(_)) => true,
            _ => false,
        }
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
pub struct Objects(BTreeMap<Reference, Known>);

impl Objects {
    /// Sets what is known about an object, which is of the kind that its key says.
    pub fn insert(&mut self, key: Reference, known: Known) {
        if let Known::Found(object) = &known {
            debug_assert!(object.is_of(&key), "{key} is another kind of object: {object:?}");
        }
        self.0.insert(key, known);
    }

    /// What is known about it; `None`: it does not exist.
    pub fn get(&self, key: &Reference) -> Option<&Known> {
        self.0.get(key)
    }

    /// The keys of all that something is known about.
    pub fn keys(&self) -> impl Iterator<Item = &Reference> {
        self.0.keys()
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

impl Extend<(Reference, Known)> for Objects {
    fn extend<I: IntoIterator<Item = (Reference, Known)>>(&mut self, all: I) {
        for (key, known) in all {
            self.insert(key, known);
        }
    }
}

impl FromIterator<(Reference, Known)> for Objects {
    fn from_iter<I: IntoIterator<Item = (Reference, Known)>>(all: I) -> Objects {
        let mut objects = Objects::default();
        objects.extend(all);
        objects
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

    fn found(object: Object) -> Known {
        Known::Found(Arc::new(object))
    }

    fn secret() -> Known {
        found(Object::Secret(Secret::default()))
    }

    fn token() -> TokenKey {
        TokenKey {
            pod: PodName::new("ns", "p"),
            uid: PodUid("u".to_owned()),
            account: "default".to_owned(),
            audience: None,
            seconds: 3600,
        }
    }

    #[test]
    fn nothing_prints_a_content() {
        let content = || Content::from("hunter2");
        let of_key = || BTreeMap::from([("password".to_owned(), content())]);
        let check = |object: Object, shown: &[&str]| {
            let text = format!("{object:?} {object:#?}");
            for shown in shown {
                assert!(text.contains(shown), "{shown} in {text}");
            }
            // Neither as text nor as a list of numbers.
            assert!(!text.contains("hunter2") && !text.contains("104"), "{text}");
        };
        let secret = Secret {
            data: of_key(),
            secret_type: "Opaque".to_owned(),
            ..Secret::default()
        };
        check(
            Object::Secret(secret),
            &["Secret", "password", "<7 bytes>", "Opaque"],
        );
        let map = ConfigMap {
            data: of_key(),
            binary_data: of_key(),
            immutable: false,
        };
        check(Object::ConfigMap(map), &["ConfigMap", "password", "<7 bytes>"]);
        check(
            Object::Token(Token {
                content: content(),
                expires: jiff::Timestamp::MAX,
            }),
            &["Token", "<7 bytes>"],
        );
        let bundle = TrustBundle { pem: content() };
        check(Object::TrustBundle(bundle), &["TrustBundle", "<7 bytes>"]);
        let objects = Objects::from_iter([(
            Reference::Token(token()),
            found(Object::Token(Token {
                content: content(),
                expires: jiff::Timestamp::MAX,
            })),
        )]);
        let text = format!("{objects:?} {objects:#?}");
        assert!(text.contains("<7 bytes>") && !text.contains("hunter2"), "{text}");
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "Secret ns/s is another kind of object")]
    fn an_object_of_another_kind_is_not_kept_under_a_key() {
        Objects::default().insert(key("s"), found(Object::ConfigMap(ConfigMap::default())));
    }

    #[test]
    fn what_appeared_changed_or_went_is_told() {
        let (same, old, new) = (secret(), secret(), secret());
        let before = Objects::from_iter([
            (key("same"), same.clone()),
            (key("changed"), old.clone()),
            (key("gone"), old),
        ]);
        let now = Objects::from_iter([
            (key("same"), same),
            (key("changed"), new.clone()),
            (key("new"), new),
        ]);
        let changed = now.changed_since(&before);
        assert_eq!(changed, ["changed", "gone", "new"].map(key).into());
        assert!(!now.is_same(&before) && now.is_same(&now.clone()));
    }
}
