//! An object as it is written to a file, and as it is shown. Pure.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::model::labels;
use crate::model::manifest_edit::{ManifestKind, Target};
use crate::model::object::HIDDEN_VALUES;

/// Where kubectl writes down what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What only an API server writes.
const OF_THE_SERVER: [&str; 7] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Makes versions of contents. Its key is this process's own, so that a version says nothing about a Secret.
static VERSIONS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The version of an object with this content, as a file has it.
pub(super) fn version(written: &Value) -> String {
    VERSIONS.hash_one(written.to_string()).to_string()
}

/// A field of an object's metadata, if it is text.
pub(super) fn metadata<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    let text = object.get("metadata")?.get(field)?.as_str()?;
    (!text.is_empty()).then_some(text)
}

/// Whether the object was read through the endpoint without its values.
pub(super) fn lacks_values(object: &Value) -> bool {
    annotation(object, HIDDEN_VALUES.0).is_some()
}

/// Whether the object is a pod that an agent has made of a manifest.
pub(super) fn is_running_pod(object: &Value) -> bool {
    let annotations = object
        .get("metadata")
        .and_then(|metadata| metadata.get("annotations"));
    let annotations = annotations.and_then(Value::as_object).into_iter().flatten();
    let texts = annotations.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    labels::source(&texts.collect::<BTreeMap<_, _>>()).is_some()
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    let annotations = object.get("metadata")?.get("annotations")?;
    annotations.get(key)?.as_str()
}

/// The object as a file has it: without what a server writes, and with its namespace.
pub(super) fn written(mut object: Value, target: &Target) -> Value {
    let Some(fields) = object.as_object_mut() else {
        return object;
    };
    fields.remove("status");
    if target.kind == ManifestKind::Secret {
        encode_text(fields);
    }
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| !OF_THE_SERVER.contains(&key.as_str()));
        metadata.insert("namespace".to_owned(), json!(target.namespace));
        let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
        let is_empty = annotations.is_some_and(|annotations| {
            annotations.remove(HIDDEN_VALUES.0);
            annotations.is_empty()
        });
        if is_empty {
            metadata.remove("annotations");
        }
    }
    object
}

/// `stringData` becomes `data`, as in an API server: it would hide a later change of `data`. What is no text stays, for the
/// check to report it.
fn encode_text(fields: &mut Map<String, Value>) {
    let texts = fields.get("stringData").and_then(Value::as_object).cloned();
    let Some(texts) = texts.filter(|texts| texts.values().all(Value::is_string)) else {
        return;
    };
    let data = fields.entry("data").or_insert(Value::Null);
    if data.is_null() {
        *data = json!({});
    }
    if let Some(data) = data.as_object_mut() {
        for (key, text) in texts {
            let text = text.as_str().unwrap_or_default();
            data.insert(key, STANDARD.encode(text).into());
        }
        fields.remove("stringData");
    }
}

/// The same with the UID that the file states, which makes a changed pod the same one.
pub(super) fn with_uid(mut object: Value, uid: Option<&str>) -> Value {
    set(&mut object, "uid", uid);
    object
}

/// The object as it may be shown.
pub(super) fn shown(object: Value, target: &Target, version: &str, uid: Option<&str>) -> Value {
    let mut object = match target.kind {
        ManifestKind::Secret => without_values(object),
        ManifestKind::Pod | ManifestKind::ConfigMap => object,
    };
    set(&mut object, "namespace", Some(&target.namespace));
    set(&mut object, "resourceVersion", Some(version));
    set(&mut object, "uid", uid);
    object
}

fn set(object: &mut Value, field: &str, value: Option<&str>) {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    if let (Some(metadata), Some(value)) = (metadata, value) {
        metadata.insert(field.to_owned(), value.into());
    }
}

/// A Secret with its keys alone, also where kubectl has written them down: it compares keys to find those that go.
fn without_values(mut secret: Value) -> Value {
    if let Some(fields) = secret.as_object_mut() {
        hide(fields);
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        let annotations = metadata.as_object_mut().map(|metadata| {
            let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
            if !annotations.is_object() {
                *annotations = json!({});
            }
            annotations
        });
        if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
            if let Some(applied) = annotations.get_mut(LAST_APPLIED) {
                let text = applied.as_str().unwrap_or_default();
                let hidden = serde_json::from_str::<Map<String, Value>>(text).map(|mut fields| {
                    hide(&mut fields);
                    Value::Object(fields).to_string()
                });
                *applied = hidden.unwrap_or_default().into();
            }
            let (name, text) = HIDDEN_VALUES;
            annotations.insert(name.to_owned(), text.into());
        }
    }
    secret
}

fn hide(fields: &mut Map<String, Value>) {
    for field in ["data", "stringData"] {
        if let Some(values) = fields.get_mut(field) {
            match values.as_object_mut() {
                Some(values) => values.values_mut().for_each(|value| *value = "".into()),
                None => *values = Value::Null,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: ManifestKind) -> Target {
        Target {
            kind,
            namespace: "ns".to_owned(),
            name: "a".to_owned(),
        }
    }

    #[test]
    fn a_file_has_what_a_person_states() {
        let object = json!({
            "kind": "Pod",
            "metadata": {
                "name": "a", "uid": "1", "creationTimestamp": null, "resourceVersion": "7", "labels": {"x": "y"},
                "annotations": {"gantry.dev/values": "not shown"},
            },
            "spec": {}, "status": {"phase": "Running"},
        });
        let expected = json!({
            "kind": "Pod", "metadata": {"name": "a", "namespace": "ns", "labels": {"x": "y"}}, "spec": {},
        });
        assert_eq!(written(object, &target(ManifestKind::Pod)), expected);
    }

    #[test]
    fn the_text_of_a_secret_becomes_data() {
        let check = |own: Value, expected: Value| {
            let mut secret = json!({"kind": "Secret", "metadata": {"name": "a"}});
            secret
                .as_object_mut()
                .unwrap()
                .extend(own.as_object().unwrap().clone());
            let mut written = written(secret, &target(ManifestKind::Secret));
            let fields = written.as_object_mut().unwrap();
            fields.retain(|key, _| key.to_lowercase().contains("data") && key != "metadata");
            assert_eq!(written, expected, "{own}");
        };
        check(json!({"stringData": {"a": "x"}}), json!({"data": {"a": "eA=="}}));
        let both = json!({"data": {"a": "eQ==", "b": "eQ=="}, "stringData": {"a": "x"}});
        check(both, json!({"data": {"a": "eA==", "b": "eQ=="}}));
        check(json!({"data": null, "stringData": {}}), json!({"data": {}}));
        check(json!({"stringData": {"a": 1}}), json!({"stringData": {"a": 1}}));
        let wrong = json!({"data": 1, "stringData": {"a": "x"}});
        check(wrong.clone(), wrong);
        check(json!({}), json!({}));
    }

    #[test]
    fn no_value_of_a_secret_is_shown() {
        let applied = json!({"data": {"word": "aHVudGVyMg=="}, "kind": "Secret"}).to_string();
        let secret = json!({
            "kind": "Secret",
            "metadata": {"name": "a", "annotations": {LAST_APPLIED: applied}},
            "data": {"word": "aHVudGVyMg=="}, "stringData": {"other": "hunter2"},
        });
        let shown = shown(secret, &target(ManifestKind::Secret), "3", None);
        assert_eq!(shown["data"], json!({"word": ""}));
        assert_eq!(shown["stringData"], json!({"other": ""}));
        let text = shown.to_string();
        assert!(
            !text.contains("hunter2") && !text.contains("aHVudGVyMg"),
            "{text}"
        );
        assert!(
            text.contains(r#"{\"data\":{\"word\":\"\"},\"kind\":\"Secret\"}"#),
            "{text}"
        );
        assert!(lacks_values(&shown));
        let odd = json!({"kind": "Secret", "metadata": {"annotations": {LAST_APPLIED: "hunter2"}}, "data": "hunter2"});
        let shown = super::shown(odd, &target(ManifestKind::Secret), "3", None).to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
