//! Answers a read: one object, or a list.

use std::ops::Bound;
use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::accept::Form;
use super::kind::Kind;
use super::object::Key;
use super::options::{Continued, Options, Version};
use super::path::{Api, Place};
use super::store::{Entry, State};
use super::table::Printing;
use crate::model::manifest_edit::{ManifestKind, Target};
use crate::serve::answer::Refusal;

/// One object.
pub(super) fn one(
    state: &State,
    place: &Place,
    name: &str,
    (form, options): (Form, &Options),
) -> Result<Response, Refusal> {
    let key = Key {
        kind: place.kind,
        namespace: place.namespace.clone().unwrap_or_default(),
        name: name.to_owned(),
    };
    let Some(entry) = state.objects.get(&key) else {
        let manifest = manifest(state, place, name).filter(|_| form == Form::Objects);
        let manifest = manifest.ok_or_else(|| not_found(place.kind, name))?;
        return Ok(Json(manifest).into_response());
    };
    let object = match form {
        Form::Objects => entry.object.json(place.api, entry.version),
        Form::Table(version) => {
            let printing = Printing {
                version,
                include: options.include,
                api: place.api,
            };
            let metadata = json!({"resourceVersion": entry.version.to_string()});
            let rows = [entry.as_ref()].into_iter();
            printing.table(place.kind, metadata, rows, Timestamp::now())
        }
    };
    Ok(Json(object).into_response())
}

/// A pod's manifest under the name that people gave it, for clients that are about to change it: `None`: no manifest has it.
fn manifest(state: &State, place: &Place, name: &str) -> Option<Value> {
    if place.kind != Kind::Pod {
        return None;
    }
    let target = Target {
        kind: ManifestKind::Pod,
        namespace: place.namespace.clone()?,
        name: name.to_owned(),
    };
    let manifest = state.manifest(&target)?;
    let mut object = manifest.stated.manifest.as_ref()?.0.clone();
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    metadata.insert("resourceVersion".to_owned(), manifest.version.to_string().into());
    Some(object)
}

/// `pods "web" not found`, worded as by the API server.
pub(super) fn not_found(kind: Kind, name: &str) -> Refusal {
    Refusal::NotFound(format!("{} \"{name}\" not found", kind.names().plural))
}

/// The objects of a collection.
pub(super) fn list(
    state: &State,
    place: &Place,
    (form, options): (Form, &Options),
) -> Result<Response, Refusal> {
    let version = list_version(state, options)?;
    let mut selected = selected(state, place, options).map(Arc::as_ref);
    let limit = options.limit.map_or(usize::MAX, usize::from);
    let page: Vec<&Entry> = selected.by_ref().take(limit).collect();
    let metadata = metadata(version, page.last().copied(), selected.count(), options);
    let list = match form {
        Form::Objects => json!({
            "kind": format!("{}List", place.kind.names().kind),
            "apiVersion": api_version(place.api),
            "metadata": metadata,
            "items": page.iter().map(|entry| entry.object.json(place.api, entry.version)).collect::<Vec<_>>(),
        }),
        Form::Table(table) => {
            let printing = Printing {
                version: table,
                include: options.include,
                api: place.api,
            };
            printing.table(place.kind, metadata, page.into_iter(), Timestamp::now())
        }
    };
    Ok(Json(list).into_response())
}

/// The objects of a collection that are selected, after those of the parts before.
pub(super) fn selected<'a>(
    state: &'a State,
    place: &Place,
    options: &Options,
) -> std::vec::IntoIter<&'a Arc<Entry>> {
    let kind = place.kind;
    let key = |namespace: &str, name: &str| Key {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let namespace = place.namespace.as_deref();
    let first = match &options.continued {
        Some(last) => Bound::Excluded(key(&last.namespace, &last.name)),
        None => Bound::Included(key(namespace.unwrap_or_default(), "")),
    };
    let all = state.objects.range((first, Bound::Unbounded));
    let is_here =
        |key: &Key| key.kind == kind && namespace.is_none_or(|namespace| namespace == key.namespace);
    let here = all.take_while(move |(key, _)| is_here(key));
    let matching = here.filter(|(_, entry)| options.selector.selects(&entry.object));
    // Collected, so that nothing of the request is borrowed by the answer.
    let entries: Vec<&Arc<Entry>> = matching.map(|(_, entry)| entry).collect();
    entries.into_iter()
}

/// The version of a list. All parts of one have that of the first part: what has changed since then is in a watch that
/// begins there.
fn list_version(state: &State, options: &Options) -> Result<u64, Refusal> {
    if let Some(continued) = &options.continued {
        let known = state.since(continued.version).map(|_| continued.version);
        return known.map_err(|_| expired(continued.version));
    }
    match options.version {
        Version::Any => Ok(state.version),
        Version::NotOlderThan(version) if version <= state.version => Ok(state.version),
        Version::Exactly(version) if version == state.version => Ok(version),
        Version::NotOlderThan(version) | Version::Exactly(version) => Err(expired(version)),
    }
}

/// The version is forgotten, or was another agent's.
pub(super) fn expired(version: u64) -> Refusal {
    Refusal::Expired(format!(
        "too old resource version: {version}; list again without one"
    ))
}

fn metadata(version: u64, last: Option<&Entry>, left: usize, options: &Options) -> Value {
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let (Some(last), 1..) = (last, left) {
        let key = last.object.key();
        let continued = Continued {
            version,
            namespace: key.namespace,
            name: key.name,
        };
        metadata["continue"] = continued.encode().into();
        // As the API server, which does not count what it selects from.
        if options.selector.is_empty() {
            metadata["remainingItemCount"] = left.into();
        }
    }
    metadata
}

pub(super) fn api_version(api: Api) -> &'static str {
    match api {
        Api::Core => "v1",
        Api::Events => "events.k8s.io/v1",
    }
}
