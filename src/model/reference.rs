//! The objects that a pod refers to: those that a source must know for it, and whose changes affect it.

use std::collections::BTreeSet;

use super::csi::{AttachmentKey, CsiDriver, CsiSource, SecretName};
use super::fc;
use super::iscsi::{self, IscsiSource};
use super::object::certificate::{CertificateKey, CertificateRequest};
use super::object::lookup::Lookup;
use super::object::{Known, Object, ObjectKey, ObjectKind, Objects, Reference, TokenKey};
use super::persistent::{ClaimKey, PersistentSource};
use super::pod::{Pod, VolumeSource};
use super::value::{EnvValue, FileSource, TokenFile};

/// The objects that a pod refers to in its volumes, environments, image pull Secrets and RuntimeClass, optional ones
/// included.
pub fn references(pod: &Pod) -> BTreeSet<Reference> {
    let mut all = BTreeSet::new();
    for volume in &pod.volumes {
        let sources = match &volume.source {
            VolumeSource::Projected { sources, .. } => sources,
            VolumeSource::Claim { claim, .. } => {
                all.insert(Reference::Claim(self::claim(pod, claim)));
                continue;
            }
            VolumeSource::Csi(inline) => {
                all.insert(Reference::CsiDriver(inline.driver.clone()));
                all.insert(Reference::Driver(inline.driver.clone()));
                let secret = inline.publish_secret.as_ref();
                all.extend(secret.map(|name| key(pod, ObjectKind::Secret, name)));
                continue;
            }
            VolumeSource::Iscsi { source, .. } => {
                all.extend(disk_secret(pod, source));
                continue;
            }
            VolumeSource::EmptyDir { .. }
            | VolumeSource::Fc { .. }
            | VolumeSource::HostPath { .. }
            | VolumeSource::Image { .. }
            | VolumeSource::Nfs { .. } => continue,
        };
        for source in sources {
            match source {
                FileSource::Object { kind, name, .. } => all.insert(key(pod, *kind, name)),
                FileSource::Token(file) => all.insert(Reference::Token(token(pod, file))),
                FileSource::Certificate(files) => {
                    all.insert(Reference::Certificate(certificate(pod, &files.request)))
                }
                FileSource::Anchors(file) => all.insert(Reference::TrustAnchors(file.anchors.clone())),
                FileSource::Downward(_) => false,
            };
        }
    }
    for container in pod.all_containers() {
        for from in &container.env_from {
            all.insert(key(pod, from.kind, &from.name));
        }
        for (_, value) in &container.env {
            if let EnvValue::Key { kind, name, .. } = value {
                all.insert(key(pod, *kind, name));
            }
        }
    }
    all.extend(pull_secrets(pod));
    all.extend(pod.runtime_class.clone().map(Reference::RuntimeClass));
    all
}

/// The same with what those objects refer to themselves, as far as it is known: a claim to its volume, that to its driver,
/// its secrets and its attachment, and a CSIDriver to tokens of the pod. `known` is what is known of an object; `None`: it
/// does not exist.
pub fn all_references<'a>(pod: &Pod, known: impl Fn(&Reference) -> Option<&'a Known>) -> BTreeSet<Reference> {
    let mut all = references(pod);
    let found = |key: &Reference| match known(key) {
        Some(Known::Found(object)) => Some(object.as_ref()),
        _ => None,
    };
    for volume in &pod.volumes {
        let driver = match &volume.source {
            VolumeSource::Csi(inline) => inline.driver.clone(),
            VolumeSource::Claim { claim, .. } => {
                let Some(Object::Claim(claim)) = found(&Reference::Claim(self::claim(pod, claim))) else {
                    continue;
                };
                let Ok(name) = claim.bound_to() else { continue };
                let key = Reference::PersistentVolume(name.to_owned());
                all.insert(key.clone());
                let Some(Object::PersistentVolume(volume)) = found(&key) else {
                    continue;
                };
                let PersistentSource::Csi(source) = &volume.source else {
                    all.extend(of_disk(pod, &volume.source));
                    continue;
                };
                all.extend(of_source(source));
                let attaches = match known(&Reference::CsiDriver(source.driver.clone())) {
                    None => CsiDriver::default().attaches,
                    Some(Known::Found(object)) => {
                        matches!(&**object, Object::CsiDriver(driver) if driver.attaches)
                    }
                    Some(Known::Asked | Known::Unread(_)) => false,
                };
                all.extend(attaches.then(|| Reference::Attachment(attachment(pod, source))));
                source.driver.clone()
            }
            _ => continue,
        };
        if let Some(Object::CsiDriver(driver)) = found(&Reference::CsiDriver(driver)) {
            all.extend(driver_tokens(pod, driver).map(Reference::Token));
        }
    }
    all
}

/// The driver and the secrets of a volume.
fn of_source(source: &CsiSource) -> impl Iterator<Item = Reference> {
    let secrets = [
        &source.stage_secret,
        &source.publish_secret,
        &source.expand_secret,
    ];
    let secrets = secrets.into_iter().flatten().map(self::secret);
    let driver = [
        Reference::CsiDriver(source.driver.clone()),
        Reference::Driver(source.driver.clone()),
    ];
    driver.into_iter().chain(secrets)
}

/// The Secret and the attachment of a disk of a storage network.
fn of_disk(pod: &Pod, source: &PersistentSource) -> Vec<Reference> {
    let attachment = |plugin, handle| Reference::Attachment(disk_attachment(pod, plugin, handle));
    match source {
        PersistentSource::Iscsi(source) => {
            let attachment = attachment(iscsi::PLUGIN, source.handle());
            disk_secret(pod, source).into_iter().chain([attachment]).collect()
        }
        PersistentSource::Fc(source) => vec![attachment(fc::PLUGIN, source.handle())],
        _ => Vec::new(),
    }
}

/// The Secret with which a target is logged in to.
fn disk_secret(pod: &Pod, source: &IscsiSource) -> Option<Reference> {
    let name = source.needed_secret()?;
    Some(secret(&secret_of_pod(pod, name)))
}

/// A Secret that a volume of the pod names: where no namespace is stated, it is the pod's.
pub fn secret_of_pod(pod: &Pod, name: &SecretName) -> SecretName {
    let namespace = match name.namespace.as_str() {
        "" => pod.name.namespace.clone(),
        own => own.to_owned(),
    };
    SecretName {
        namespace,
        name: name.name.clone(),
    }
}

/// The key of the attachment of a disk to the pod's node, which the attach/detach controller attaches by itself.
pub fn disk_attachment(pod: &Pod, plugin: &str, handle: String) -> AttachmentKey {
    AttachmentKey {
        driver: plugin.to_owned(),
        handle,
        node: node_of(pod),
    }
}

/// The Secret that a volume names.
fn secret(name: &SecretName) -> Reference {
    Reference::Object(ObjectKey {
        kind: ObjectKind::Secret,
        namespace: name.namespace.clone(),
        name: name.name.clone(),
    })
}

/// The key of the attachment of a volume to the pod's node.
pub fn attachment(pod: &Pod, source: &CsiSource) -> AttachmentKey {
    AttachmentKey {
        driver: source.driver.clone(),
        handle: source.handle.clone(),
        node: node_of(pod),
    }
}

/// The key of a certificate that a volume of the pod holds.
pub fn certificate(pod: &Pod, request: &CertificateRequest) -> CertificateKey {
    CertificateKey {
        pod: pod.name.clone(),
        uid: pod.uid.clone(),
        account: pod.service_account().to_owned(),
        node: node_of(pod),
        request: request.clone(),
    }
}

fn node_of(pod: &Pod) -> String {
    let spec = pod.object.spec.as_ref();
    spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default()
}

/// The tokens of the pod that a driver asks for, in the order of its requests.
pub fn driver_tokens(pod: &Pod, driver: &CsiDriver) -> impl Iterator<Item = TokenKey> {
    driver.tokens.iter().map(|request| TokenKey {
        pod: pod.name.clone(),
        uid: pod.uid.clone(),
        account: pod.service_account().to_owned(),
        audience: Some(request.audience.clone()).filter(|audience| !audience.is_empty()),
        seconds: request.seconds,
    })
}

/// The key of a claim that a pod names.
pub fn claim(pod: &Pod, name: &str) -> ClaimKey {
    ClaimKey {
        namespace: pod.name.namespace.clone(),
        name: name.to_owned(),
    }
}

/// The Secrets of a pod's `imagePullSecrets`.
pub fn pull_secrets(pod: &Pod) -> impl Iterator<Item = Reference> {
    let names = pod.pull_secrets.iter();
    names.map(|name| key(pod, ObjectKind::Secret, name))
}

/// The names of the unavailable ones, in the pod's order; pulls are tried without them.
pub fn absent_pull_secrets<'a>(pod: &'a Pod, objects: &Objects) -> Vec<&'a str> {
    let is_absent = |name: &&String| {
        let secret = objects.secret(&pod.name.namespace, name);
        !matches!(secret, Lookup::Found(_))
    };
    let absent = pod.pull_secrets.iter().filter(is_absent);
    absent.map(String::as_str).collect()
}

/// The reference to a ConfigMap or a Secret that a pod names.
pub fn key(pod: &Pod, kind: ObjectKind, name: &str) -> Reference {
    Reference::Object(object(pod, kind, name))
}

/// The key of a ConfigMap or a Secret that a pod names.
pub fn object(pod: &Pod, kind: ObjectKind, name: &str) -> ObjectKey {
    ObjectKey {
        kind,
        namespace: pod.name.namespace.clone(),
        name: name.to_owned(),
    }
}

/// The key of a token that a volume of the pod holds. Two files with the same parameters share one token.
pub fn token(pod: &Pod, file: &TokenFile) -> TokenKey {
    TokenKey {
        pod: pod.name.clone(),
        uid: pod.uid.clone(),
        account: pod.service_account().to_owned(),
        audience: file.audience.clone(),
        seconds: file.seconds,
    }
}

/// The message about an object that could not be requested: the kubelet's, after it has waited a second.
pub fn unsynced(kind: ObjectKind) -> String {
    format!(
        "failed to sync {} cache: timed out waiting for the condition",
        kind.word()
    )
}

/// The same for trust anchors.
pub const UNSYNCED_ANCHORS: &str = "ClusterTrustBundle informer has not yet synced";

/// The kubelet's message about a certificate that no signer has issued yet.
pub const NOT_ISSUED: &str = "credential bundle is not issued yet";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::object::TrustAnchors;
    use crate::model::pod::{RestartPolicy, Volume};
    use crate::model::sample;
    use crate::model::value::{AnchorsFile, EnvFrom, Projection};

    #[test]
    fn volumes_and_environments_of_all_containers_count() {
        let mut pod = sample::pod(RestartPolicy::Always, &["i"], &["c"]);
        pod.volumes.push(Volume {
            name: "v".to_owned(),
            source: VolumeSource::Projected {
                kind: Projection::Projected,
                mode: 0o644,
                sources: vec![
                    FileSource::Object {
                        kind: ObjectKind::ConfigMap,
                        name: "a".to_owned(),
                        items: Vec::new(),
                        optional: true,
                    },
                    FileSource::Downward(Vec::new()),
                    FileSource::Anchors(AnchorsFile {
                        anchors: TrustAnchors::Named("roots".to_owned()),
                        optional: false,
                        path: "roots.pem".to_owned(),
                    }),
                    FileSource::Token(TokenFile {
                        audience: Some("https://a/b".to_owned()),
                        seconds: 3607,
                        path: "token".to_owned(),
                    }),
                ],
            },
        });
        pod.init_containers[0].env_from.push(EnvFrom {
            prefix: String::new(),
            kind: ObjectKind::Secret,
            name: "b".to_owned(),
            optional: false,
        });
        let value = EnvValue::Key {
            kind: ObjectKind::ConfigMap,
            name: "a".to_owned(),
            key: "k".to_owned(),
            optional: false,
        };
        pod.containers[0].env.push(("A".to_owned(), value));
        pod.pull_secrets.push("pull".to_owned());
        pod.runtime_class = Some("sandboxed".to_owned());
        let names: Vec<_> = references(&pod).iter().map(ToString::to_string).collect();
        let expected = [
            "ConfigMap ns/a",
            "Secret ns/b",
            "Secret ns/pull",
            "service account token of ns/ for ns/p",
            "RuntimeClass sandboxed",
            "ClusterTrustBundle roots",
        ];
        assert_eq!(names, expected);
    }
}
