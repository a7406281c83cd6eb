//! How a reader finds an object: by its kind, so that it gets that kind or the reason why there is none.

use super::certificate::CertificateKey;
use super::kinds::{PodCertificate, RuntimeClass, Secret, Token, TrustBundle, Values};
use super::{Known, Object, ObjectKey, ObjectKind, Objects, Reference, TokenKey, TrustAnchors};
use std::sync::Arc;

use crate::model::csi::{Attachment, AttachmentKey, CsiDriver};
use crate::model::driver::Driver;
use crate::model::persistent::{Claim, ClaimKey, PersistentVolume};

/// What a reader of one kind of object gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup<'a, T> {
    /// It exists.
    Found(T),
    /// It does not exist.
    Missing,
    /// As [`Known::Asked`].
    Asked,
    /// As [`Known::Unread`].
    Unread(&'a str),
}

impl Objects {
    /// A ConfigMap or a Secret, whichever the key says.
    pub fn values(&self, key: ObjectKey) -> Lookup<'_, Values<'_>> {
        let kind = key.kind;
        self.lookup(&Reference::Object(key), |object| match (kind, object) {
            (ObjectKind::ConfigMap, Object::ConfigMap(map)) => Some(Values::ConfigMap(map)),
            (ObjectKind::Secret, Object::Secret(secret)) => Some(Values::Secret(secret)),
            _ => None,
        })
    }

    /// A Secret.
    pub fn secret(&self, namespace: &str, name: &str) -> Lookup<'_, &Secret> {
        let key = ObjectKey {
            kind: ObjectKind::Secret,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        self.lookup(&Reference::Object(key), |object| match object {
            Object::Secret(secret) => Some(secret),
            _ => None,
        })
    }

    /// A service account token.
    pub fn token(&self, key: TokenKey) -> Lookup<'_, &Token> {
        self.lookup(&Reference::Token(key), |object| match object {
            Object::Token(token) => Some(token),
            _ => None,
        })
    }

    /// A certificate of a pod.
    pub fn certificate(&self, key: CertificateKey) -> Lookup<'_, &PodCertificate> {
        self.lookup(&Reference::Certificate(key), |object| match object {
            Object::Certificate(certificate) => Some(certificate),
            _ => None,
        })
    }

    /// A RuntimeClass.
    pub fn runtime_class(&self, name: &str) -> Lookup<'_, &RuntimeClass> {
        self.lookup(&Reference::RuntimeClass(name.to_owned()), |object| match object {
            Object::RuntimeClass(class) => Some(class),
            _ => None,
        })
    }

    /// The certificates of trust anchors.
    pub fn trust_bundle(&self, anchors: &TrustAnchors) -> Lookup<'_, &TrustBundle> {
        self.lookup(&Reference::TrustAnchors(anchors.clone()), |object| match object {
            Object::TrustBundle(bundle) => Some(bundle),
            _ => None,
        })
    }

    /// A PersistentVolumeClaim.
    pub fn claim(&self, key: ClaimKey) -> Lookup<'_, &Claim> {
        self.lookup(&Reference::Claim(key), |object| match object {
            Object::Claim(claim) => Some(claim),
            _ => None,
        })
    }

    /// A PersistentVolume.
    pub fn persistent_volume(&self, name: &str) -> Lookup<'_, &PersistentVolume> {
        self.lookup(
            &Reference::PersistentVolume(name.to_owned()),
            |object| match object {
                Object::PersistentVolume(volume) => Some(volume),
                _ => None,
            },
        )
    }

    /// A CSIDriver object.
    pub fn csi_driver(&self, name: &str) -> Lookup<'_, &CsiDriver> {
        self.lookup(&Reference::CsiDriver(name.to_owned()), |object| match object {
            Object::CsiDriver(driver) => Some(driver),
            _ => None,
        })
    }

    /// A driver that is registered on the node.
    pub fn driver(&self, name: &str) -> Lookup<'_, &Arc<Driver>> {
        self.lookup(&Reference::Driver(name.to_owned()), |object| match object {
            Object::Driver(driver) => Some(driver),
            _ => None,
        })
    }

    /// That a volume is attached.
    pub fn attachment(&self, key: &AttachmentKey) -> Lookup<'_, &Attachment> {
        self.lookup(&Reference::Attachment(key.clone()), |object| match object {
            Object::Attachment(attachment) => Some(attachment),
            _ => None,
        })
    }

    /// What `read` takes from the object; one of another kind is none of those that the caller asks for.
    fn lookup<'a, T>(&'a self, key: &Reference, read: impl FnOnce(&'a Object) -> Option<T>) -> Lookup<'a, T> {
        match self.get(key) {
            Some(Known::Found(object)) => read(object).map_or(Lookup::Missing, Lookup::Found),
            Some(Known::Asked) => Lookup::Asked,
            Some(Known::Unread(why)) => Lookup::Unread(why),
            None => Lookup::Missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::object::kinds::ConfigMap;
    use crate::model::pod::{PodName, PodUid};

    fn token() -> TokenKey {
        TokenKey {
            pod: PodName::new("ns", "p"),
            uid: PodUid("u".to_owned()),
            account: "default".to_owned(),
            audience: None,
            seconds: 3600,
        }
    }

    fn found(object: Object) -> Known {
        Known::Found(object.into())
    }

    #[test]
    fn a_reader_gets_the_object_of_its_kind_or_why_there_is_none() {
        let object = |kind, name: &str| ObjectKey {
            kind,
            namespace: "ns".to_owned(),
            name: name.to_owned(),
        };
        let anchors = TrustAnchors::Named("a".to_owned());
        let map = ConfigMap {
            immutable: true,
            ..ConfigMap::default()
        };
        let class = RuntimeClass {
            handler: "runsc".to_owned(),
        };
        let pem = TrustBundle { pem: "pem".into() };
        let objects: Objects = [
            (
                Reference::Object(object(ObjectKind::ConfigMap, "a")),
                found(Object::ConfigMap(map.clone())),
            ),
            (
                Reference::Object(object(ObjectKind::Secret, "a")),
                found(Object::Secret(Secret::default())),
            ),
            (
                Reference::Object(object(ObjectKind::Secret, "asked")),
                Known::Asked,
            ),
            (
                Reference::Object(object(ObjectKind::Secret, "shut")),
                Known::Unread("forbidden".into()),
            ),
            (
                Reference::Token(token()),
                found(Object::Token(Token {
                    content: "t".into(),
                    expires: jiff::Timestamp::MAX,
                })),
            ),
            (
                Reference::RuntimeClass("a".to_owned()),
                found(Object::RuntimeClass(class.clone())),
            ),
            (
                Reference::TrustAnchors(anchors.clone()),
                found(Object::TrustBundle(pem.clone())),
            ),
        ]
        .into_iter()
        .collect();
        // One name of several kinds.
        assert_eq!(objects.secret("ns", "a"), Lookup::Found(&Secret::default()));
        let values = |kind, name| objects.values(object(kind, name));
        let found = values(ObjectKind::ConfigMap, "a");
        assert!(
            matches!(found, Lookup::Found(Values::ConfigMap(own)) if *own == map),
            "{found:?}"
        );
        let found = values(ObjectKind::Secret, "a");
        assert!(matches!(found, Lookup::Found(Values::Secret(_))), "{found:?}");
        assert_eq!(objects.runtime_class("a"), Lookup::Found(&class));
        assert_eq!(objects.trust_bundle(&anchors), Lookup::Found(&pem));
        assert_eq!(
            objects.token(token()),
            Lookup::Found(&Token {
                content: "t".into(),
                expires: jiff::Timestamp::MAX
            })
        );
        let check = |name: &str, expected: Lookup<'_, &Secret>| {
            assert_eq!(objects.secret("ns", name), expected, "{name}");
        };
        check("asked", Lookup::Asked);
        check("shut", Lookup::Unread("forbidden"));
        check("gone", Lookup::Missing);
        assert_eq!(objects.secret("other", "a"), Lookup::Missing);
        let found = values(ObjectKind::ConfigMap, "asked");
        assert!(matches!(found, Lookup::Missing), "{found:?}");
        let other = TokenKey {
            audience: Some("vault".to_owned()),
            ..token()
        };
        assert_eq!(objects.token(other), Lookup::Missing);
        assert_eq!(objects.runtime_class("ns"), Lookup::Missing);
    }
}
