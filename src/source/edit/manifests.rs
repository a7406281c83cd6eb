//! The objects of the manifests directory, each with the file that it is in. Pure.

use std::path::PathBuf;

use serde_json::Value;

use crate::model::manifest_edit::Target;
use crate::source::stated;

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
        Manifest {
            path,
            is_link,
            documents: stated::documents(&bytes),
            bytes,
        }
    }

    fn find(&self, target: &Target) -> Option<Found<'_>> {
        let is_it = |object: &&Value| stated::target(object).as_ref() == Some(target);
        let object = stated::objects(&self.documents).find(is_it)?;
        let is_document = self
            .documents
            .iter()
            .any(|document| std::ptr::eq(document, object));
        Some(Found {
            manifest: self,
            is_alone: is_document && self.documents.len() == 1,
            object,
        })
    }
}

/// The object in the first file that has it, as the agent prefers it.
pub(super) fn find<'a>(manifests: &'a [Manifest], target: &Target) -> Option<Found<'a>> {
    manifests.iter().find_map(|manifest| manifest.find(target))
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
