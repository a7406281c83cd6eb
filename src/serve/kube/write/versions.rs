//! The version of an object that clients know is this endpoint's own; the source compares contents. A request that states the
//! one is passed on with the other, and an answer the other way round. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::model::manifest_edit::{Edit, Hidden, ManifestKind, Patch, Preconditions, Target};
use crate::serve::kube::object::Key;
use crate::serve::kube::store::State;

/// An object as clients know it.
struct Known<'a> {
    version: u64,
    /// What the source compares; `None`: the file does not have what is in force.
    content: Option<&'a str>,
    /// A pod's manifest has none that clients see.
    metadata: Option<&'a ObjectMeta>,
}

fn known<'a>(state: &'a State, target: &Target) -> Option<Known<'a>> {
    if target.kind == ManifestKind::Pod {
        let manifest = state.manifest(target)?;
        return Some(Known {
            version: manifest.version,
            content: manifest.stated.version.as_deref(),
            metadata: None,
        });
    }
    let entry = state.objects.get(&key(target))?;
    Some(Known {
        version: entry.version,
        content: state
            .stated
            .get(target)
            .and_then(|stated| stated.version.as_deref()),
        metadata: Some(entry.object.metadata()),
    })
}

/// The key of the object; of a pod, that of a run with this name.
pub(super) fn key(target: &Target) -> Key {
    Key {
        kind: target.kind.into(),
        namespace: target.namespace.clone(),
        name: target.name.clone(),
    }
}

/// Whether the manifests directory states this content of the object.
pub(super) fn has(state: &State, target: &Target, content: &str) -> bool {
    let stated = state.stated.get(target);
    stated.and_then(|stated| stated.version.as_deref()) == Some(content)
}

/// The change as the source is asked for it. A version that is not the present one stays, and the source refuses it.
pub(super) fn asked(state: &State, target: &Target, mut edit: Edit) -> Edit {
    let Some(known) = known(state, target) else {
        return edit;
    };
    let of_client = known.version.to_string();
    let replace = |stated: &mut String| {
        if let (true, Some(content)) = (*stated == of_client, known.content) {
            *stated = content.to_owned();
        }
    };
    match &mut edit {
        Edit::Replace(Hidden(object))
        | Edit::Patch(Patch::Strategic(Hidden(object)) | Patch::Merge(Hidden(object))) => {
            let metadata = object.get_mut("metadata");
            if let Some(Value::String(stated)) =
                metadata.and_then(|metadata| metadata.get_mut("resourceVersion"))
            {
                replace(stated);
            }
        }
        Edit::Remove(Preconditions { uid, version }) => {
            version.as_mut().map(replace);
            let own = known.metadata.and_then(|metadata| metadata.uid.as_ref());
            // Only a pod's manifest may have one of its own.
            uid.take_if(|uid| own == Some(uid));
        }
        Edit::Create(_) | Edit::Patch(Patch::Json(_)) => {}
    }
    edit
}

/// The object of an answer as clients know it. `pod`: the full name of a pod, if the answer is about its run.
pub(super) fn answered(state: &State, target: &Target, pod: Option<&str>, mut object: Value) -> Value {
    let run = pod.and_then(|name| {
        let key = Key {
            name: name.to_owned(),
            ..key(target)
        };
        let entry = state.objects.get(&key)?;
        Some(Known {
            version: entry.version,
            content: None,
            metadata: None,
        })
    });
    let known = match pod {
        Some(_) => run,
        None => known(state, target),
    };
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        // One of the source's own would be no version to go on from.
        metadata.remove("resourceVersion");
        if let Some(known) = known {
            metadata.insert("resourceVersion".to_owned(), known.version.to_string().into());
            let own = known.metadata;
            if let Some(created) = own.and_then(|own| own.creation_timestamp.as_ref()) {
                let text = serde_json::to_value(created).unwrap_or_default();
                metadata.insert("creationTimestamp".to_owned(), text);
            }
            if let Some(uid) = own.and_then(|own| own.uid.clone()) {
                metadata.insert("uid".to_owned(), uid.into());
            }
        }
    }
    object
}
