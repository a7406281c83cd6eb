//! The objects of the manifests directory, each with the file that it is in. Pure.

use std::path::PathBuf;

use serde_json::Value;

use crate::model::manifest_edit::Target;
use crate::model::yaml::document;

/// A file, as far as it is YAML.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) path: PathBuf,
    /// Whether the file is a link to another one.
    pub(super) is_link: bool,
    pub(super) bytes: Vec<u8>,
    documents: Vec<Value>,
}

/// An object in a file.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) manifest: &'a Manifest,
    /// The object as it is written.
    pub(super) object: &'a Value,
    /// Whether the file has nothing else.
    pub(super) is_alone: bool,
}

impl Manifest {
    /// A file that is no YAML has no objects; the agent reports it.
    pub(super) fn new(path: PathBuf, is_link: bool, bytes: Vec<u8>) -> Manifest {
        let text = std::str::from_utf8(&bytes).ok();
        let documents = text
            .and_then(|text| document::read(text).ok())
            .unwrap_or_default();
        Manifest {
            path,
            is_link,
            documents: documents.into_iter().map(|document| document.value).collect(),
            bytes,
        }
    }

    fn find(&self, target: &Target) -> Option<Found<'_>> {
        let is_it = |object: &&Value| is(object, target);
        let items = self.documents.iter().filter_map(|document| document.get("items"));
        let mut of_lists = items.filter_map(Value::as_array).flatten();
        let own = self.documents.iter().find(is_it);
        Some(Found {
            manifest: self,
            is_alone: own.is_some() && self.documents.len() == 1,
            object: own.or_else(|| of_lists.find(is_it))?,
        })
    }
}

/// The object in the first file that has it, as the agent prefers it.
pub(super) fn find<'a>(manifests: &'a [Manifest], target: &Target) -> Option<Found<'a>> {
    manifests.iter().find_map(|manifest| manifest.find(target))
}

fn is(object: &Value, target: &Target) -> bool {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let metadata = object.get("metadata");
    let field = |name: &str| text(metadata.and_then(|metadata| metadata.get(name)));
    let namespace = field("namespace").filter(|namespace| !namespace.is_empty());
    text(object.get("kind")).as_deref() == Some(target.kind.as_str())
        && field("name").as_deref() == Some(&target.name)
        && namespace.as_deref().unwrap_or("default") == target.namespace
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest_edit::ManifestKind;

    #[test]
    fn an_object_is_found_wherever_it_is() {
        let check = |text: &str, expected: Option<bool>| {
            let manifest = Manifest::new("/m/a.yaml".into(), false, text.as_bytes().to_vec());
            let target = Target {
                kind: ManifestKind::ConfigMap,
                namespace: "default".to_owned(),
                name: "a".to_owned(),
            };
            let found = find(std::slice::from_ref(&manifest), &target).map(|found| found.is_alone);
            assert_eq!(found, expected, "{text}");
        };
        let map = "kind: ConfigMap\nmetadata: {name: a}\n";
        check(map, Some(true));
        check(&format!("---\n# nothing\n---\n{map}"), Some(true));
        check(&format!("{map}---\nkind: Pod\n"), Some(false));
        check(
            "kind: List\nitems:\n- kind: ConfigMap\n  metadata: {name: a, namespace: ''}\n",
            Some(false),
        );
        check("kind: ConfigMap\nmetadata: {name: a, namespace: other}\n", None);
        check("kind: Secret\nmetadata: {name: a}\n", None);
        check("kind: [", None);
        check("", None);
    }
}
