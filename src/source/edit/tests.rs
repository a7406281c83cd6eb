//! The task on a real directory.

use std::path::Path;

use serde_json::{Value, json};

use super::carry::Directory;
use crate::manifest::ManifestContext;
use crate::model::manifest_edit::{
    Edit, Edited, Hidden, ManifestKind, Mode, NotEdited, Patch, Preconditions, Target,
};

struct Manifests {
    at: tempfile::TempDir,
    directory: Directory,
}

fn context() -> ManifestContext {
    ManifestContext {
        node_name: "vm".to_owned(),
        ..ManifestContext::default()
    }
}

fn manifests() -> Manifests {
    let at = tempfile::tempdir().unwrap();
    let directory = Directory::new(Some(at.path().to_owned()), context());
    Manifests { at, directory }
}

fn target(kind: ManifestKind, name: &str) -> Target {
    Target {
        kind,
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

fn pod(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "creationTimestamp": null},
        "spec": {"containers": [{"name": "main", "image": image, "resources": {}}]}, "status": {},
    })
}

fn map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": value}})
}

impl Manifests {
    fn edit(&self, kind: ManifestKind, name: &str, edit: Edit) -> Result<Edited, NotEdited> {
        self.directory.edit(target(kind, name), edit, Mode::Write.into())
    }

    fn create(&self, kind: ManifestKind, object: Value) -> Result<Edited, NotEdited> {
        self.edit(kind, "", Edit::Create(Hidden(object)))
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.at.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.at.path().join(name), content).unwrap();
    }

    fn content(&self, name: &str) -> String {
        std::fs::read_to_string(self.at.path().join(name)).unwrap()
    }
}

fn merge(patch: Value) -> Edit {
    Edit::Patch(Patch::Merge(Hidden(patch)))
}

#[test]
fn what_is_created_is_a_manifest_until_it_is_removed() {
    let manifests = manifests();
    let dry = manifests.directory.edit(
        target(ManifestKind::Pod, ""),
        Edit::Create(Hidden(pod("web", "i:1"))),
        Mode::DryRun.into(),
    );
    let made = manifests.create(ManifestKind::Pod, pod("web", "i:1")).unwrap();
    assert_eq!(dry.unwrap().pod, made.pod);
    assert_eq!(made.object["metadata"]["name"], "web-vm");
    assert_eq!(manifests.names(), ["pod.default.web.yaml"]);
    assert!(made.warnings.is_empty(), "{:?}", made.warnings);
    let content = manifests.content("pod.default.web.yaml");
    let expected = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  namespace: default\nspec:\n  containers:\n  - image: i:1\n";
    assert!(content.starts_with(expected), "{content}");
    let read = manifests
        .edit(ManifestKind::Pod, "web", merge(json!({})))
        .unwrap();
    assert_eq!(read.pod, made.pod);
    assert_eq!(read.object["metadata"]["name"], "web");
    assert_eq!(read.object["metadata"]["uid"], made.object["metadata"]["uid"]);
    let again = manifests
        .create(ManifestKind::Pod, pod("web", "i:2"))
        .unwrap_err();
    assert!(matches!(again, NotEdited::Exists { .. }), "{again}");
    let mut odd = pod("odd", "i:1");
    odd["spec"]["colour"] = "red".into();
    let dry = manifests.directory.edit(
        target(ManifestKind::Pod, ""),
        Edit::Create(Hidden(odd)),
        Mode::DryRun.into(),
    );
    let warnings = dry.unwrap().warnings;
    assert!(warnings == [r#"unknown field "spec.colour""#], "{warnings:?}");
    let removed = manifests.edit(ManifestKind::Pod, "web", Edit::Remove(Preconditions::default()));
    assert_eq!(removed.unwrap().pod, made.pod);
    assert!(manifests.names().is_empty());
    let gone = manifests
        .edit(ManifestKind::Pod, "web", merge(json!({})))
        .unwrap_err();
    assert_eq!(gone.to_string(), "pods \"web\" not found");
}

#[test]
fn what_is_no_manifest_is_refused_and_not_written() {
    let manifests = manifests();
    let check = |kind: ManifestKind, object: Value, expected: &str| {
        let error = manifests.create(kind, object).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let mut broken = pod("web", "i:1");
    broken["spec"]["restartPolicy"] = "Sometimes".into();
    check(
        ManifestKind::Pod,
        broken,
        "Pod \"web\" is invalid: spec.restartPolicy:",
    );
    check(
        ManifestKind::Pod,
        map("a", "1"),
        "must have apiVersion v1 and kind Pod",
    );
    for name in ["../x", "a/b", "", ".", "A", &"a".repeat(254)] {
        check(ManifestKind::ConfigMap, map(name, "1"), "metadata.name: ");
    }
    let mut elsewhere = map("a", "1");
    elsewhere["metadata"]["namespace"] = "other".into();
    check(ManifestKind::ConfigMap, elsewhere, "does not match the namespace");
    check(
        ManifestKind::ConfigMap,
        map(&"a".repeat(250), "1"),
        "too long for the name of a file",
    );
    let mut shown =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": ""}});
    shown["metadata"]["annotations"] = json!({"gantry.dev/values": "x"});
    check(ManifestKind::Secret, shown, "without its values");
    let made = manifests.directory.edit(
        target(ManifestKind::Pod, ""),
        Edit::Create(Hidden(pod("web", "i:1"))),
        Mode::DryRun.into(),
    );
    check(
        ManifestKind::Pod,
        made.unwrap().object,
        "this pod was made of a manifest",
    );
    check(ManifestKind::Pod, json!([]), "apiVersion v1");
    let mut outside = target(ManifestKind::ConfigMap, "");
    outside.namespace = "..".to_owned();
    let error = manifests
        .directory
        .edit(outside, Edit::Create(Hidden(map("a", "1"))), Mode::Write.into());
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("metadata.namespace: \"..\"")
    );
    assert!(manifests.names().is_empty());
    // A file of that name that has something else.
    manifests.write(
        "configmap.default.a.yaml",
        "kind: ConfigMap\nmetadata: {name: b}\n",
    );
    check(
        ManifestKind::ConfigMap,
        map("a", "1"),
        "it exists, and does not have this object",
    );
}

#[test]
fn a_change_keeps_what_it_does_not_name() {
    let manifests = manifests();
    manifests.write(
        "own.yaml",
        "# By hand.\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: one, b: two}\n",
    );
    let same = manifests.edit(ManifestKind::ConfigMap, "a", merge(json!({"data": {"a": "one"}})));
    assert!(!same.unwrap().is_changed);
    assert!(manifests.content("own.yaml").starts_with("# By hand."));
    let changed = manifests.edit(
        ManifestKind::ConfigMap,
        "a",
        merge(json!({"data": {"a": "three"}})),
    );
    let changed = changed.unwrap();
    assert_eq!(changed.object["data"], json!({"a": "three", "b": "two"}));
    assert_eq!(manifests.names(), ["own.yaml"]);
    // The version that it had before.
    let version = changed.object["metadata"]["resourceVersion"].clone();
    let mut next = map("a", "four");
    next["metadata"]["resourceVersion"] = version;
    manifests
        .edit(ManifestKind::ConfigMap, "a", Edit::Replace(Hidden(next.clone())))
        .unwrap();
    next["data"]["a"] = "five".into();
    let late = manifests
        .edit(ManifestKind::ConfigMap, "a", Edit::Replace(Hidden(next)))
        .unwrap_err();
    assert!(
        late.to_string().contains("the object has been modified"),
        "{late}"
    );
    assert!(manifests.content("own.yaml").contains("a: four"));
    let renamed = manifests.edit(
        ManifestKind::ConfigMap,
        "a",
        merge(json!({"metadata": {"name": "x"}})),
    );
    assert!(
        renamed
            .unwrap_err()
            .to_string()
            .contains("does not match the name")
    );
    let wrong = manifests.edit(ManifestKind::ConfigMap, "a", merge(json!({"data": {"a": 1}})));
    assert!(matches!(wrong.unwrap_err(), NotEdited::Invalid { .. }));
    let other = Preconditions {
        uid: None,
        version: Some("1".to_owned()),
    };
    let refused = manifests
        .edit(ManifestKind::ConfigMap, "a", Edit::Remove(other))
        .unwrap_err();
    assert!(matches!(refused, NotEdited::Conflict(_)), "{refused}");
}

#[test]
fn a_secret_is_changed_without_being_shown() {
    let manifests = manifests();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"word": "hunter2"},
    });
    let made = manifests.create(ManifestKind::Secret, secret).unwrap();
    assert!(!made.object.to_string().contains("hunter2"));
    let labels = merge(json!({"metadata": {"labels": {"x": "y"}}}));
    let labelled = manifests.edit(ManifestKind::Secret, "s", labels).unwrap();
    assert_eq!(labelled.object["data"], json!({"word": ""}));
    let content = manifests.content("secret.default.s.yaml");
    assert!(
        content.contains("aHVudGVyMg==") && !content.contains("gantry.dev"),
        "{content}"
    );
}

#[test]
fn what_cannot_be_written_is_said() {
    let manifests = manifests();
    manifests.write("two.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n");
    let check = |name: &str, expected: &str| {
        for edit in [
            merge(json!({"data": {"x": "y"}})),
            Edit::Remove(Preconditions::default()),
        ] {
            let error = manifests
                .edit(ManifestKind::ConfigMap, name, edit)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    };
    check("a", "two.yaml has other objects, too");
    let elsewhere = manifests.at.path().join(".elsewhere");
    std::fs::write(
        &elsewhere,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
    )
    .unwrap();
    std::os::unix::fs::symlink(&elsewhere, manifests.at.path().join("link.yaml")).unwrap();
    check("c", "link.yaml is a link");

    let create = |path: Option<&Path>| {
        let directory = Directory::new(path.map(Path::to_owned), context());
        let made = directory.edit(
            target(ManifestKind::ConfigMap, ""),
            Edit::Create(Hidden(map("new", "1"))),
            Mode::Write.into(),
        );
        made.unwrap_err().to_string()
    };
    assert!(create(None).contains("no manifests directory is configured"));
    let missing = create(Some(&manifests.at.path().join("none")));
    assert!(missing.ends_with("create it with `mkdir -p`"), "{missing}");
    let file = create(Some(&manifests.at.path().join("two.yaml")));
    assert!(file.starts_with("staticPodPath is a single file"), "{file}");
}
