//! A referenced object in the checkpoint of the API server's pods. Pure.
//!
//! The format is older than the kinds of [`Object`]: every kind is values under keys, so a RuntimeClass and trust anchors
//! have one value each. It stays so that an agent reads what an older or a newer one wrote.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};

use crate::model::csi::{Attachment, AttachmentKey};
use crate::model::object::content::Content;
use crate::model::object::kinds::{ConfigMap, RuntimeClass, Secret, TrustBundle};
use crate::model::object::{Known, Object, ObjectKey, ObjectKind, Reference, Selection, TrustAnchors};
use crate::model::persistent::ClaimKey;

/// The key of a RuntimeClass's handler.
const HANDLER: &str = "handler";
/// The key of the certificates of trust anchors.
const TRUST_BUNDLE: &str = "trustBundle";
/// The key of a claim or a PersistentVolume, as JSON.
const JSON: &str = "json";

/// An object.
#[derive(Serialize, Deserialize)]
pub(super) struct Entry {
    kind: Kind,
    namespace: String,
    name: String,
    /// `None`: it did not exist.
    content: Option<Stored>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Kind {
    ConfigMap,
    Secret,
    RuntimeClass,
    /// A ClusterTrustBundle.
    TrustBundle,
    /// The bundles of a signer, which is in the namespace field; the name is their label selector.
    TrustBundles,
    Claim,
    PersistentVolume,
    CsiDriver,
    /// The namespace field has the name of the node; the name is that of the driver, a circumflex, and the handle.
    Attachment,
}

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    data: BTreeMap<String, ByteString>,
    binary: BTreeMap<String, ByteString>,
    secret_type: String,
    immutable: bool,
    /// Missing in files of older versions.
    #[serde(default)]
    uid: String,
}

impl Entry {
    /// The saved form of an object; `None`: it is a token, or its value is not known for certain.
    pub(super) fn of(key: &Reference, known: Option<&Known>) -> Option<Entry> {
        let (kind, namespace, name) = match key {
            Reference::Object(key) => (key.kind.into(), key.namespace.clone(), key.name.clone()),
            Reference::RuntimeClass(name) => (Kind::RuntimeClass, String::new(), name.clone()),
            Reference::Claim(key) => (Kind::Claim, key.namespace.clone(), key.name.clone()),
            Reference::PersistentVolume(name) => (Kind::PersistentVolume, String::new(), name.clone()),
            Reference::TrustAnchors(TrustAnchors::Named(name)) => {
                (Kind::TrustBundle, String::new(), name.clone())
            }
            Reference::TrustAnchors(TrustAnchors::Signed { signer, labels }) => match labels {
                Selection::Those(labels) => (Kind::TrustBundles, signer.clone(), labels.clone()),
                // It selects nothing, so there is no request to answer.
                Selection::Nothing => return None,
            },
            Reference::CsiDriver(name) => (Kind::CsiDriver, String::new(), name.clone()),
            Reference::Attachment(key) => {
                let AttachmentKey { driver, handle, node } = key;
                (Kind::Attachment, node.clone(), format!("{driver}^{handle}"))
            }
            // A driver registers again, and a certificate is requested again: its key is in memory alone.
            Reference::Token(_) | Reference::Certificate(_) | Reference::Driver(_) => return None,
        };
        let content = match known {
            Some(Known::Found(object)) => Some(Stored::of(object)?),
            Some(Known::Asked | Known::Unread(_)) => return None,
            None => None,
        };
        Some(Entry {
            kind,
            namespace,
            name,
            content,
        })
    }

    /// Its reference, and the object: `Some(None)` where it did not exist, `None` where it cannot be read and is as if it
    /// were not in the file.
    pub(super) fn into_object(self) -> (Reference, Option<Option<Object>>) {
        let (kind, content) = (self.kind, self.content);
        let object = |kind, namespace, name| {
            Reference::Object(ObjectKey {
                kind,
                namespace,
                name,
            })
        };
        let key = match kind {
            Kind::ConfigMap => object(ObjectKind::ConfigMap, self.namespace, self.name),
            Kind::Secret => object(ObjectKind::Secret, self.namespace, self.name),
            Kind::RuntimeClass => Reference::RuntimeClass(self.name),
            Kind::Claim => Reference::Claim(ClaimKey {
                namespace: self.namespace,
                name: self.name,
            }),
            Kind::PersistentVolume => Reference::PersistentVolume(self.name),
            Kind::CsiDriver => Reference::CsiDriver(self.name),
            Kind::Attachment => {
                // No name of a driver has a circumflex.
                let (driver, handle) = self.name.split_once('^').unwrap_or_default();
                Reference::Attachment(AttachmentKey {
                    driver: driver.to_owned(),
                    handle: handle.to_owned(),
                    node: self.namespace,
                })
            }
            Kind::TrustBundle => Reference::TrustAnchors(TrustAnchors::Named(self.name)),
            Kind::TrustBundles => Reference::TrustAnchors(TrustAnchors::Signed {
                signer: self.namespace,
                labels: Selection::Those(self.name),
            }),
        };
        let object = match content {
            Some(stored) => stored.into_object(kind).map(Some),
            None => Some(None),
        };
        (key, object)
    }
}

impl From<ObjectKind> for Kind {
    fn from(kind: ObjectKind) -> Kind {
        match kind {
            ObjectKind::ConfigMap => Kind::ConfigMap,
            ObjectKind::Secret => Kind::Secret,
        }
    }
}

impl Stored {
    /// `None`: a token, which is never saved.
    fn of(object: &Object) -> Option<Stored> {
        let bytes = |content: &[u8]| ByteString(content.to_vec());
        let all = |map: &BTreeMap<String, Content>| {
            let own = |(key, content): (&String, &Content)| (key.clone(), bytes(&content.0));
            map.iter().map(own).collect()
        };
        let one = |key: &str, content: &[u8]| Stored {
            data: [(key.to_owned(), bytes(content))].into(),
            ..Stored::default()
        };
        Some(match object {
            Object::ConfigMap(map) => Stored {
                data: all(&map.data),
                binary: all(&map.binary_data),
                immutable: map.immutable,
                ..Stored::default()
            },
            Object::Secret(secret) => Stored {
                data: all(&secret.data),
                secret_type: secret.secret_type.clone(),
                immutable: secret.immutable,
                uid: secret.uid.clone(),
                ..Stored::default()
            },
            Object::RuntimeClass(class) => one(HANDLER, class.handler.as_bytes()),
            Object::TrustBundle(bundle) => one(TRUST_BUNDLE, &bundle.pem.0),
            Object::Claim(claim) => one(JSON, &serde_json::to_vec(claim).ok()?),
            Object::PersistentVolume(volume) => one(JSON, &serde_json::to_vec(volume).ok()?),
            Object::CsiDriver(driver) => one(JSON, &serde_json::to_vec(driver).ok()?),
            Object::Attachment(Attachment::Attached(volume)) => one(JSON, &serde_json::to_vec(volume).ok()?),
            Object::Attachment(Attachment::Exhausted(_))
            | Object::Token(_)
            | Object::Certificate(_)
            | Object::Driver(_) => {
                return None;
            }
        })
    }

    /// `None`: a claim or a volume that cannot be read, or a RuntimeClass without a handler. The default runtime, which an empty handler selects, would run the pod
    /// without the isolation that it asks for.
    fn into_object(mut self, kind: Kind) -> Option<Object> {
        let content = |bytes: ByteString| Content::from(bytes.0.as_slice());
        let all = |map: BTreeMap<String, ByteString>| {
            map.into_iter()
                .map(|(key, bytes)| (key, content(bytes)))
                .collect()
        };
        let mut one = |key: &str| self.data.remove(key).map(content);
        Some(match kind {
            Kind::RuntimeClass => Object::RuntimeClass(RuntimeClass {
                handler: one(HANDLER)?.text(),
            }),
            Kind::Claim => Object::Claim(serde_json::from_slice(&one(JSON)?.0).ok()?),
            Kind::PersistentVolume => Object::PersistentVolume(serde_json::from_slice(&one(JSON)?.0).ok()?),
            Kind::CsiDriver => Object::CsiDriver(serde_json::from_slice(&one(JSON)?.0).ok()?),
            Kind::Attachment => {
                let volume = serde_json::from_slice(&one(JSON)?.0).ok()?;
                Object::Attachment(Attachment::Attached(volume))
            }
            Kind::TrustBundle | Kind::TrustBundles => Object::TrustBundle(TrustBundle {
                pem: one(TRUST_BUNDLE).unwrap_or_else(|| Content::from("")),
            }),
            Kind::ConfigMap => Object::ConfigMap(ConfigMap {
                data: all(self.data),
                binary_data: all(self.binary),
                immutable: self.immutable,
            }),
            Kind::Secret => Object::Secret(Secret {
                data: all(self.data),
                secret_type: self.secret_type,
                immutable: self.immutable,
                uid: self.uid,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::csi::{AttachedVolume, CsiDriver};
    use crate::model::driver::Driver;
    use crate::model::persistent::Claim;

    fn object(kind: ObjectKind, name: &str) -> Reference {
        Reference::Object(ObjectKey {
            kind,
            namespace: "ns".to_owned(),
            name: name.to_owned(),
        })
    }

    /// What an agent writes, and what it reads of that.
    fn check(key: Reference, object: Option<Object>, written: serde_json::Value) {
        let known = object.clone().map(|object| Known::Found(object.into()));
        let entry = Entry::of(&key, known.as_ref()).unwrap();
        assert_eq!(serde_json::to_value(entry).unwrap(), written, "{key}");
        read(written, key, object);
    }

    fn read(text: serde_json::Value, key: Reference, object: Option<Object>) {
        let entry: Entry = serde_json::from_value(text).unwrap();
        assert_eq!(entry.into_object(), (key, Some(object)));
    }

    #[test]
    fn drivers_and_attachments_are_kept_and_registrations_are_not() {
        let kept = |key: Reference, object: Object| {
            let known = Known::Found(object.clone().into());
            let entry = Entry::of(&key, Some(&known)).unwrap();
            read(serde_json::to_value(entry).unwrap(), key, Some(object));
        };
        let driver = CsiDriver::default();
        kept(Reference::CsiDriver("d".to_owned()), Object::CsiDriver(driver));
        let key = AttachmentKey {
            driver: "d".to_owned(),
            handle: "h^1".to_owned(),
            node: "n".to_owned(),
        };
        let attached = Attachment::Attached(AttachedVolume {
            metadata: [("k".to_owned(), "v".to_owned())].into(),
        });
        kept(Reference::Attachment(key.clone()), Object::Attachment(attached));
        // It may have found room since.
        let exhausted = Object::Attachment(Attachment::Exhausted("full".to_owned()));
        let known = Known::Found(exhausted.into());
        assert!(Entry::of(&Reference::Attachment(key), Some(&known)).is_none());
        let known = Known::Found(Object::Driver(Driver::default().into()).into());
        assert!(Entry::of(&Reference::Driver("d".to_owned()), Some(&known)).is_none());
    }

    #[test]
    fn what_agents_without_kinds_wrote_is_read_and_written_alike() {
        let map = ConfigMap {
            data: [("k".to_owned(), "v".into())].into(),
            binary_data: [("b".to_owned(), [0u8, 255][..].into())].into(),
            immutable: true,
        };
        let secret = Secret {
            data: [("k".to_owned(), "v".into())].into(),
            secret_type: "Opaque".to_owned(),
            immutable: false,
            uid: "u".to_owned(),
        };
        let class = RuntimeClass {
            handler: "runsc".to_owned(),
        };
        let bundle = || Some(Object::TrustBundle(TrustBundle { pem: "pem".into() }));
        let pem = serde_json::json!({
            "data": {"trustBundle": "cGVt"}, "binary": {}, "secret_type": "", "immutable": false, "uid": "",
        });
        check(
            object(ObjectKind::ConfigMap, "a"),
            Some(Object::ConfigMap(map)),
            serde_json::json!({"kind": "ConfigMap", "namespace": "ns", "name": "a", "content": {
                "data": {"k": "dg=="}, "binary": {"b": "AP8="}, "secret_type": "", "immutable": true, "uid": "",
            }}),
        );
        check(
            object(ObjectKind::Secret, "a"),
            Some(Object::Secret(secret.clone())),
            serde_json::json!({"kind": "Secret", "namespace": "ns", "name": "a", "content": {
                "data": {"k": "dg=="}, "binary": {}, "secret_type": "Opaque", "immutable": false, "uid": "u",
            }}),
        );
        check(
            Reference::RuntimeClass("a".to_owned()),
            Some(Object::RuntimeClass(class)),
            serde_json::json!({"kind": "RuntimeClass", "namespace": "", "name": "a", "content": {
                "data": {"handler": "cnVuc2M="}, "binary": {}, "secret_type": "", "immutable": false, "uid": "",
            }}),
        );
        check(
            Reference::TrustAnchors(TrustAnchors::Named("a".to_owned())),
            bundle(),
            serde_json::json!({"kind": "TrustBundle", "namespace": "", "name": "a", "content": pem}),
        );
        check(
            Reference::TrustAnchors(TrustAnchors::Signed {
                signer: "example.org/ca".to_owned(),
                labels: Selection::Those("a=b".to_owned()),
            }),
            bundle(),
            serde_json::json!({
                "kind": "TrustBundles", "namespace": "example.org/ca", "name": "a=b", "content": pem,
            }),
        );
        // `{"uid":"u","owner":null,"is_leaving":false,"is_bound":true,"volume":"pv"}`
        let json = "eyJ1aWQiOiJ1Iiwib3duZXIiOm51bGwsImlzX2xlYXZpbmciOmZhbHNlLCJpc19ib3VuZCI6dHJ1ZSwidm9sdW1lIjoicHYifQ==";
        check(
            Reference::Claim(ClaimKey {
                namespace: "ns".to_owned(),
                name: "data".to_owned(),
            }),
            Some(Object::Claim(Claim {
                uid: "u".to_owned(),
                is_bound: true,
                volume: "pv".to_owned(),
                ..Claim::default()
            })),
            serde_json::json!({"kind": "Claim", "namespace": "ns", "name": "data", "content": {
                "data": {"json": json}, "binary": {}, "secret_type": "", "immutable": false, "uid": "",
            }}),
        );
        check(
            object(ObjectKind::Secret, "gone"),
            None,
            serde_json::json!({"kind": "Secret", "namespace": "ns", "name": "gone", "content": null}),
        );
        // The first ones had no UIDs.
        read(
            serde_json::json!({"kind": "Secret", "namespace": "ns", "name": "a", "content": {
                "data": {"k": "dg=="}, "binary": {}, "secret_type": "Opaque", "immutable": false,
            }}),
            object(ObjectKind::Secret, "a"),
            Some(Object::Secret(Secret {
                uid: String::new(),
                ..secret
            })),
        );
    }

    #[test]
    fn a_runtime_class_without_its_handler_is_as_if_it_were_not_in_the_file() {
        let content = |data: serde_json::Value| {
            serde_json::json!({
                "data": data, "binary": {}, "secret_type": "", "immutable": false, "uid": "",
            })
        };
        let read = |content: serde_json::Value| {
            let text = serde_json::json!({
                "kind": "RuntimeClass", "namespace": "", "name": "a", "content": content,
            });
            let entry: Entry = serde_json::from_value(text).unwrap();
            entry.into_object().1
        };
        assert_eq!(read(content(serde_json::json!({}))), None);
        assert_eq!(read(serde_json::Value::Null), Some(None), "it did not exist");
        let class = RuntimeClass {
            handler: "runsc".to_owned(),
        };
        assert_eq!(
            read(content(serde_json::json!({"handler": "cnVuc2M="}))),
            Some(Some(Object::RuntimeClass(class)))
        );
    }

    #[test]
    fn what_is_not_known_for_certain_is_not_written() {
        for known in [Known::Asked, Known::Unread("forbidden".into())] {
            let entry = Entry::of(&object(ObjectKind::Secret, "a"), Some(&known));
            assert!(entry.is_none(), "{known:?}");
        }
    }
}
