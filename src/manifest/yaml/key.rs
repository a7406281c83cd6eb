//! The key of an entry as text, and the path of what lies beneath it.

use super::tree::{Node, Value};
use crate::manifest::path::FieldPath;
use crate::model::pod::ProblemKind;
use crate::model::yaml::scalar::Scalar;

/// The text of a key, and what is wrong or dubious with it.
pub(super) fn key_text(node: &Node, written: &str) -> (String, Option<(String, ProblemKind)>) {
    let dubious = |text: String| {
        let message = format!("the key {written} is read as {text}: put it in quotes");
        (text, Some((message, ProblemKind::Dubious)))
    };
    let refused = |what: &str| {
        let message = format!("the key is {what}: a key must be text");
        (String::new(), Some((message, ProblemKind::Invalid)))
    };
    let Value::Scalar(scalar) = &node.value else {
        return refused("a list or a mapping");
    };
    match (scalar.key(), scalar) {
        (Err(what), _) => refused(what),
        (Ok(text), Scalar::Str(_) | Scalar::Int(_)) => (text, None),
        (Ok(text), _) => dubious(text),
    }
}

/// The path of a key; a key that cannot be a field's name is taken for a map's.
pub(super) fn field(path: &FieldPath, key: &str) -> FieldPath {
    if !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric()) {
        path.field(key.to_owned())
    } else {
        path.key(key)
    }
}
