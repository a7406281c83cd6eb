//! The differences that are meant, each with its reason. What is none of them is a failure.

use gantry::model::pod::{Problem, ProblemKind};
use serde_json::Value;

/// What the kubelet says of a pod that is right but for what it refers to, before the name of that.
pub const REFERENCE: &str = "static pods may not reference ";

/// What both say of one manifest.
pub struct Answers<'a> {
    /// The manifest.
    pub text: &'a str,
    /// The document of the pod that we take.
    pub document: usize,
    /// What we refuse in it.
    pub problems: &'a [Problem],
    /// What the kubelet says against it; empty where it takes it.
    pub kubelet: &'a str,
}

/// A difference that is meant.
pub struct Intended {
    /// Why.
    pub reason: &'static str,
    /// Whether it explains these answers.
    pub explains: fn(&Answers<'_>) -> bool,
}

/// What the kubelet takes and we refuse.
pub const REFUSED: &[Intended] = &[
    Intended {
        reason: "what is not there yet is refused by name and never dropped",
        explains: |answers| {
            answers
                .problems
                .iter()
                .all(|problem| problem.kind == ProblemKind::Unsupported)
        },
    },
    Intended {
        reason: "what a pod's author can make long is bounded",
        explains: |answers| {
            answers
                .problems
                .iter()
                .all(|problem| problem.kind == ProblemKind::Bound)
        },
    },
];

/// What we take and the kubelet refuses.
pub const TAKEN: &[Intended] = &[
    Intended {
        reason: "ConfigMaps and Secrets lie in the manifests directory too, so a static pod may refer to them",
        explains: |answers| {
            let kinds = ["configmaps", "secrets"];
            kinds
                .iter()
                .any(|kind| answers.kubelet == format!("{REFERENCE}{kind}"))
        },
    },
    Intended {
        reason: "all documents of a file are read, not the first one only",
        explains: |answers| answers.document > 1 && answers.kubelet == "Object 'Kind' is missing in 'null'",
    },
    Intended {
        reason: "a manifest that begins with a brace is YAML, whose braces need not be JSON",
        explains: |answers| {
            let is_json = serde_json::from_str::<serde_json::Value>(answers.text).is_ok();
            answers
                .text
                .trim_start_matches('\u{feff}')
                .trim_start()
                .starts_with('{')
                && !is_json
        },
    },
];

/// Fields of the metadata that only an API server writes: we drop them.
const OF_API_SERVER: &[&str] = &[
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
];
/// The annotations of where a pod came from: the kubelet writes them later.
const ORIGIN: &[&str] = &["kubernetes.io/config.source", "kubernetes.io/config.seen"];

/// The kubelet's object and ours without what differs as meant:
///
/// - the kubelet has a status that says nothing yet;
/// - what only an API server writes is dropped here; the kubelet's UID is made of it too (and of the machine's time zone
///   tables, which a time refers to), so with such fields the UIDs differ;
/// - Go remembers of a quantity whether it was nothing or `0`, and makes the UID of that too;
/// - the UID of a pod with resources of its own is not the kubelet's (`manifest/fingerprint.rs` says why);
/// - we note where a pod came from, and the priority of the two classes that every cluster has.
pub fn alike(kubelet: &Value, ours: &Value, of_server: bool) -> (Value, Value) {
    let (mut kubelet, mut ours) = (kubelet.clone(), ours.clone());
    let dropped = |pod: &Value| {
        OF_API_SERVER
            .iter()
            .any(|field| !pod["metadata"][field].is_null())
    };
    let has_other_uid =
        of_server || dropped(&kubelet) || has_zero(&kubelet) || !kubelet["spec"]["resources"].is_null();
    for pod in [&mut kubelet, &mut ours] {
        remove(pod, "", &["status", "kind", "apiVersion"]);
        remove(pod, "/metadata", OF_API_SERVER);
        remove(pod, "/metadata/annotations", ORIGIN);
        if has_other_uid {
            remove(pod, "/metadata", &["uid"]);
            remove(pod, "/metadata/annotations", &["kubernetes.io/config.hash"]);
        }
    }
    let class = ours["spec"]["priorityClassName"].as_str().unwrap_or_default();
    if class.starts_with("system-") && kubelet["spec"]["priority"].is_null() {
        remove(&mut ours, "/spec", &["priority"]);
    }
    (kubelet, ours)
}

/// Whether an amount of a resource is 0.
fn has_zero(pod: &Value) -> bool {
    let amounts = |list: &Value| {
        list.as_object()
            .is_some_and(|all| all.values().any(|amount| amount == "0"))
    };
    match pod {
        Value::Object(fields) => {
            let own = ["limits", "requests", "overhead"]
                .iter()
                .any(|field| amounts(&pod[field]));
            own || pod["sizeLimit"] == "0" || fields.values().any(has_zero)
        }
        Value::Array(items) => items.iter().any(has_zero),
        _ => false,
    }
}

fn remove(pod: &mut Value, at: &str, fields: &[&str]) {
    if let Some(object) = pod.pointer_mut(at).and_then(Value::as_object_mut) {
        object.retain(|field, _| !fields.contains(&field.as_str()));
    }
}
