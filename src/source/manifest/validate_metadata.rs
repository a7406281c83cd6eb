//! Whether the metadata of a pod is right: names, labels, annotations.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::names;
use super::path::{Faults, FieldPath};

/// All keys and values of the annotations together have at most so many bytes.
const MOST_ANNOTATION_BYTES: usize = 256 * 1024;
/// The longest name of a file: the pod's log directory carries its namespace, name and UID.
const MOST_FILE_NAME_BYTES: usize = 255;

/// Notes what is wrong with the metadata of a complete object.
pub(super) fn metadata(metadata: &ObjectMeta, at: &FieldPath, faults: &mut Faults) {
    let name = metadata.name.as_deref().unwrap_or("");
    let namespace = metadata.namespace.as_deref().unwrap_or("");
    let uid = metadata.uid.as_deref().unwrap_or("");
    faults.complain(&at.field("name"), name, names::dns_subdomain(name));
    faults.complain(&at.field("namespace"), namespace, names::dns_label(namespace));
    faults.complain(&at.field("uid"), uid, names::uid(uid));
    let directory = namespace.len() + name.len() + uid.len() + 2;
    if directory > MOST_FILE_NAME_BYTES {
        let message = format!(
            "is too long: namespace, name with the node's, and UID have {directory} characters together and name a \
             directory, which takes {MOST_FILE_NAME_BYTES}"
        );
        faults.add(&at.field("name"), message);
    }
    labels(metadata.labels.as_ref(), &at.field("labels"), faults);
    annotations(metadata.annotations.as_ref(), &at.field("annotations"), faults);
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
            let message = "is not read any more: set securityContext.seccompProfile instead";
            faults.add(&at.key(key.clone()), message);
        }
    }
    if bytes > MOST_ANNOTATION_BYTES {
        faults.add(
            at,
            format!("have {bytes} bytes together; the most are {MOST_ANNOTATION_BYTES}"),
        );
    }
}
