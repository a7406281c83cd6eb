//! Validates a pod's metadata: names, labels, annotations.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::manifest::names;
use crate::manifest::path::{Faults, FieldPath};

/// The most bytes in all annotation keys and values together.
const MOST_ANNOTATION_BYTES: usize = 256 * 1024;
/// The longest name of a file: the pod's log directory carries its namespace, name and UID.
const MOST_FILE_NAME_BYTES: usize = 255;

/// Notes what is wrong with the metadata of a complete object.
pub(crate) fn metadata(metadata: &ObjectMeta, at: &FieldPath, faults: &mut Faults) {
    let name = metadata.name.as_deref().unwrap_or("");
    let namespace = metadata.namespace.as_deref().unwrap_or("");
    let uid = metadata.uid.as_deref().unwrap_or("");
    faults.complain(&at.field("name"), name, names::dns_subdomain(name));
    faults.complain(&at.field("namespace"), namespace, names::dns_label(namespace));
    // It becomes part of paths, though the kubelet accepts any text.
    if let Some(complaint) = names::uid(uid) {
        faults.unsupported(&at.field("uid"), format!("{uid:?} {complaint}"));
    }
    let directory = namespace.len() + name.len() + uid.len() + 2;
    if directory > MOST_FILE_NAME_BYTES {
        let message = format!(
            "is too long: namespace, name (with the node's name) and UID together name a directory and have \
             {directory} characters; the limit is {MOST_FILE_NAME_BYTES}"
        );
        faults.add(&at.field("name"), message);
    }
    labels(metadata.labels.as_ref(), &at.field("labels"), faults);
    annotations(metadata.annotations.as_ref(), &at.field("annotations"), faults);
}

/// Notes what is wrong with a manifest's metadata beside the name, including fields that are dropped later.
pub(crate) fn written(metadata: &ObjectMeta, faults: &mut Faults) {
    let at = FieldPath::default().field("metadata");
    generate_name(metadata, &at, faults);
    if metadata.generation.is_some_and(|generation| generation < 0) {
        faults.add(
            &at.field("generation"),
            "is negative: only the API server sets it, remove it",
        );
    }
    finalizers(metadata, &at, faults);
    owners(metadata, &at, faults);
    managed_fields(metadata, &at, faults);
}

fn generate_name(metadata: &ObjectMeta, at: &FieldPath, faults: &mut Faults) {
    if let Some(prefix) = metadata.generate_name.as_deref().filter(|name| !name.is_empty()) {
        // The generated part follows a trailing dash.
        let whole = match prefix.strip_suffix('-') {
            Some(rest) => format!("{rest}a"),
            None => prefix.to_owned(),
        };
        faults.complain(&at.field("generateName"), prefix, names::dns_subdomain(&whole));
    }
}

fn finalizers(metadata: &ObjectMeta, at: &FieldPath, faults: &mut Faults) {
    let finalizers = metadata.finalizers.as_deref().unwrap_or(&[]);
    for (index, finalizer) in finalizers.iter().enumerate() {
        let at = at.field("finalizers").index(index);
        faults.complain(&at, finalizer, names::qualified_name(finalizer));
        let standard = ["kubernetes", "orphan", "foregroundDeletion"];
        if !finalizer.contains('/') && !standard.contains(&finalizer.as_str()) {
            faults.add(
                &at,
                format!("{finalizer:?} has no domain prefix (example.com/name)"),
            );
        }
    }
    if ["orphan", "foregroundDeletion"]
        .iter()
        .all(|own| finalizers.iter().any(|is| is == own))
    {
        faults.add(
            &at.field("finalizers"),
            "cannot have both orphan and foregroundDeletion",
        );
    }
}

fn owners(metadata: &ObjectMeta, at: &FieldPath, faults: &mut Faults) {
    let mut controllers = 0;
    for (index, owner) in metadata.owner_references.iter().flatten().enumerate() {
        let at = at.field("ownerReferences").index(index);
        let version = owner.api_version.rsplit('/').next().unwrap_or_default();
        let is_version = owner.api_version.matches('/').count() < 2;
        for (field, text) in [
            ("apiVersion", if is_version { version } else { "" }),
            ("kind", &owner.kind),
            ("name", &owner.name),
            ("uid", &owner.uid),
        ] {
            if text.is_empty() {
                faults.add(
                    &at.field(field),
                    "is missing: an owner has apiVersion, kind, name and uid",
                );
            }
        }
        if (owner.api_version.as_str(), owner.kind.as_str()) == ("v1", "Event") {
            faults.add(&at.field("kind"), "cannot be Event: an event cannot own objects");
        }
        controllers += usize::from(owner.controller == Some(true));
    }
    if controllers > 1 {
        faults.add(
            &at.field("ownerReferences"),
            "have more than one with controller: true",
        );
    }
}

fn managed_fields(metadata: &ObjectMeta, at: &FieldPath, faults: &mut Faults) {
    for (index, entry) in metadata.managed_fields.iter().flatten().enumerate() {
        let at = at.field("managedFields").index(index);
        faults.one_of(
            &at.field("operation"),
            entry.operation.as_deref().unwrap_or_default(),
            &["Apply", "Update"],
        );
        faults.one_of(
            &at.field("fieldsType"),
            entry.fields_type.as_deref().unwrap_or_default(),
            &["", "FieldsV1"],
        );
        let manager = entry.manager.as_deref().unwrap_or_default();
        if manager.len() > 128 || manager.chars().any(char::is_control) {
            faults.add(&at.field("manager"), "must be at most 128 printable characters");
        }
        if entry.subresource.as_ref().is_some_and(|name| name.len() > 256) {
            faults.add(&at.field("subresource"), "must be at most 256 characters");
        }
    }
}

fn labels(labels: Option<&BTreeMap<String, String>>, at: &FieldPath, faults: &mut Faults) {
    for (key, value) in labels.into_iter().flatten() {
        faults.complain(&at.key(key.clone()), key, names::qualified_name(key));
        faults.complain(&at.key(key.clone()), value, names::label_value(value));
    }
}

fn annotations(annotations: Option<&BTreeMap<String, String>>, at: &FieldPath, faults: &mut Faults) {
    let mut bytes = 0;
    for (key, value) in annotations.into_iter().flatten() {
        bytes += key.len() + value.len();
        // Annotations may have upper case in their domain.
        let lower = key.to_ascii_lowercase();
        faults.complain(&at.key(key.clone()), key, names::qualified_name(&lower));
        if key == "seccomp.security.alpha.kubernetes.io/pod"
            || key.starts_with("container.seccomp.security.alpha.kubernetes.io/")
        {
            let message = "is no longer read: set securityContext.seccompProfile instead";
            faults.add(&at.key(key.clone()), message);
        }
    }
    if bytes > MOST_ANNOTATION_BYTES {
        faults.add(
            at,
            format!("have {bytes} bytes in total; the limit is {MOST_ANNOTATION_BYTES}"),
        );
    }
}
