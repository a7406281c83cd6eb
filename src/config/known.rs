//! Strict parsing: rejects unknown keys and wrong types, with their line. Pure.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::ConfigError;
use super::own::GantryConfiguration;
use super::raw;
use crate::model::yaml::document::{Document, KeyPath, key_path, show};

/// Checks the version, keys and types of one document, so that an error can name its line.
pub fn check_document<T: DeserializeOwned>(
    document: &Document,
    api_version: &str,
    in_file: &dyn Fn(usize, String) -> ConfigError,
) -> Result<(), ConfigError> {
    let line = |path: &KeyPath| document.line_of(path);
    if document.value["apiVersion"] != api_version {
        let path = vec!["apiVersion".to_owned()];
        let problem = match &document.value["apiVersion"] {
            Value::Null => format!("apiVersion is missing; write `apiVersion: {api_version}`"),
            other => format!("apiVersion {other} is not supported; write `apiVersion: {api_version}`"),
        };
        return Err(in_file(line(&path), problem));
    }
    let mut unknown = Vec::new();
    let mut note_unknown = |path: serde_ignored::Path<'_>| unknown.push(ignored_path(&path));
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(&document.value, &mut track);
    let read: Result<T, _> = serde_ignored::deserialize(deserializer, &mut note_unknown);
    if let Err(error) = read {
        let path = key_path(&track.path());
        return Err(in_file(line(&path), format!("{}: {error}", show(&path))));
    }
    match unknown.first() {
        None => Ok(()),
        Some(path) => {
            let kind = document.value["kind"].as_str().unwrap_or_default();
            let remedy = match nearest(path, kind) {
                Some(known) => format!("did you mean {known}?"),
                None => format!("remove it, or see the reference of {kind}"),
            };
            Err(in_file(
                line(path),
                format!("unknown key {}; {remedy}", show(path)),
            ))
        }
    }
}

/// A known key in the same object whose name resembles the unknown one.
fn nearest(path: &[String], kind: &str) -> Option<String> {
    let (last, parents) = path.split_last()?;
    let known = match kind {
        raw::KIND => serde_json::to_value(raw::skeleton()).ok()?,
        _ => serde_json::to_value(GantryConfiguration::default()).ok()?,
    };
    let object = parents.iter().fold(&known, |value, key| &value[key]);
    let close = |key: &&String| {
        let (a, b) = (key.to_lowercase(), last.to_lowercase());
        a == b || distance(&a, &b) <= 2
    };
    object
        .as_object()?
        .keys()
        .filter(close)
        .min_by_key(|key| distance(key, last))
        .cloned()
}

/// The edit distance of two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

fn ignored_path(path: &serde_ignored::Path<'_>) -> KeyPath {
    use serde_ignored::Path;
    let (parent, part) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (parent, Some(index.to_string())),
        Path::Map { parent, key } => (parent, Some(key.clone())),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            (parent, None)
        }
    };
    let mut path = ignored_path(parent);
    path.extend(part);
    path
}
