//! The objects of a manifest as it states them. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::object;
use crate::model::manifest_edit::{Hidden, ManifestKind, Target};
use crate::model::stated::{AllStated, Stated};
use crate::model::yaml::document;

/// What the objects of a file are known by besides the file.
pub(super) struct Facts<'a> {
    /// The objects of the file before.
    pub(super) before: &'a AllStated,
    /// The UID of a pod that the file gives.
    pub(super) uid: &'a dyn Fn(&Target) -> Option<String>,
    /// Since when there is an object that was not there before.
    pub(super) created: &'a dyn Fn(&Target) -> Timestamp,
}

/// The documents of a file; none if it is not YAML.
pub(super) fn documents(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).ok();
    let documents = text.and_then(|text| document::read(text).ok());
    let documents = documents.unwrap_or_default().into_iter();
    documents.map(|document| document.value).collect()
}

/// The objects of the documents: those that are documents first, then those of lists.
pub(super) fn objects(documents: &[Value]) -> impl Iterator<Item = &Value> {
    let items = documents.iter().filter_map(|document| document.get("items"));
    documents
        .iter()
        .chain(items.filter_map(Value::as_array).flatten())
}

/// Which object this is; `None`: none that a manifest has.
pub(super) fn target(object: &Value) -> Option<Target> {
    let kind = match object.get("kind")?.as_str()? {
        "Pod" => ManifestKind::Pod,
        "ConfigMap" => ManifestKind::ConfigMap,
        "Secret" => ManifestKind::Secret,
        _ => return None,
    };
    Some(Target {
        kind,
        namespace: object::metadata(object, "namespace")
            .unwrap_or("default")
            .to_owned(),
        name: object::metadata(object, "name")?.to_owned(),
    })
}

/// What the file states now. An object that is the same keeps its `Arc`.
pub(super) fn next(documents: &[Value], facts: &Facts<'_>) -> AllStated {
    let mut all = AllStated::new();
    for found in objects(documents) {
        let Some(target) = target(found).filter(|target| !all.contains_key(target)) else {
            continue;
        };
        let before = facts.before.get(&target);
        let created = before.map_or_else(|| (facts.created)(&target), |before| before.created);
        let stated = stated(found, &target, (facts.uid)(&target), created);
        let stated = match before {
            Some(before) if **before == stated => before.clone(),
            _ => Arc::new(stated),
        };
        all.insert(target, stated);
    }
    all
}

/// What remains of objects that are in force although their file has them no longer, or cannot be read.
pub(super) fn lasting(targets: impl Iterator<Item = Target>, facts: &Facts<'_>) -> AllStated {
    let lasting = |target: Target| {
        let stated = match facts.before.get(&target) {
            Some(before) if before.version.is_none() => before.clone(),
            before => Arc::new(Stated {
                version: None,
                labels: before.map(|before| before.labels.clone()).unwrap_or_default(),
                annotations: before
                    .map(|before| before.annotations.clone())
                    .unwrap_or_default(),
                created: before.map_or_else(|| (facts.created)(&target), |before| before.created),
                manifest: None,
            }),
        };
        (target, stated)
    };
    targets.map(lasting).collect()
}

fn stated(found: &Value, target: &Target, uid: Option<String>, created: Timestamp) -> Stated {
    let written = object::written(found.clone(), target);
    let version = object::version(&written);
    let shown = object::shown(written, target, &version, uid.as_deref());
    Stated {
        version: Some(version),
        labels: texts(&shown, "labels"),
        annotations: texts(&shown, "annotations"),
        created,
        manifest: match target.kind {
            ManifestKind::Pod => Some(Arc::new(Hidden(shown))),
            ManifestKind::ConfigMap | ManifestKind::Secret => None,
        },
    }
}

fn texts(object: &Value, field: &str) -> BTreeMap<String, String> {
    let map = object.get("metadata").and_then(|metadata| metadata.get(field));
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    let texts = entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str =
        "kind: Secret\nmetadata: {name: s, labels: {a: b, c: 1}}\nstringData: {word: hunter2}\n";
    const POD: &str = "kind: Pod\nmetadata: {name: web}\nspec: {colour: red}\n";

    fn time(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn next(text: &str, before: &AllStated, now: i64) -> AllStated {
        let facts = Facts {
            before,
            uid: &|_| Some("u".to_owned()),
            created: &|_| time(now),
        };
        super::next(&documents(text.as_bytes()), &facts)
    }

    fn of<'a>(all: &'a AllStated, name: &str) -> &'a Arc<Stated> {
        let mut found = all.iter().filter(|(target, _)| target.name == name);
        found.next().unwrap().1
    }

    #[test]
    fn an_object_is_as_old_as_its_first_appearance() {
        let first = next(&format!("{SECRET}---\n{POD}"), &AllStated::new(), 10);
        let second = next(
            &format!("{SECRET}---\n{}", POD.replace("red", "blue")),
            &first,
            20,
        );
        assert!(Arc::ptr_eq(of(&first, "s"), of(&second, "s")));
        let (old, new) = (of(&first, "web"), of(&second, "web"));
        assert_eq!((new.created, new.version != old.version), (time(10), true));
        let third = next(SECRET, &AllStated::new(), 30);
        assert_eq!(of(&third, "s").created, time(30));
    }

    #[test]
    fn a_secret_is_stated_without_its_values_and_a_pod_whole() {
        let all = next(&format!("{SECRET}---\n{POD}"), &AllStated::new(), 10);
        let secret = of(&all, "s");
        assert_eq!(secret.labels, [("a".to_owned(), "b".to_owned())].into());
        assert!(secret.manifest.is_none());
        let hidden = &of(&all, "web").manifest.as_ref().unwrap().0;
        assert_eq!(
            (&hidden["spec"]["colour"], &hidden["metadata"]["uid"]),
            (&"red".into(), &"u".into())
        );
        let list =
            "kind: List\nitems:\n- kind: ConfigMap\n  metadata: {name: m, namespace: x}\n- kind: Odd\n";
        let all = next(list, &AllStated::new(), 10);
        assert_eq!(
            all.keys()
                .map(|target| target.namespace.as_str())
                .collect::<Vec<_>>(),
            ["x"]
        );
    }

    #[test]
    fn what_stays_in_force_keeps_its_labels_and_cannot_be_changed() {
        let before = next(SECRET, &AllStated::new(), 10);
        let facts = Facts {
            before: &before,
            uid: &|_| None,
            created: &|_| time(99),
        };
        let after = lasting(before.keys().cloned(), &facts);
        let secret = of(&after, "s");
        assert_eq!((&secret.version, secret.created), (&None, time(10)));
        assert_eq!(secret.labels["a"], "b");
    }
}
