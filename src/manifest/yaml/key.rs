//! The key of an entry as text, and the path of what lies beneath it.

use super::scalar;
use super::tree::{Node, Scalar, Value};
use crate::manifest::path::FieldPath;
use crate::model::pod::ProblemKind;

/// The text of a key, and what is wrong or dubious with it. The kubelet's reader turns numbers and booleans into text.
pub(super) fn key_text(node: &Node, written: &str) -> (String, Option<(String, ProblemKind)>) {
    let dubious = |text: String| {
        let message = format!("the key {written} is read as {text}: put it in quotes");
        (text, Some((message, ProblemKind::Dubious)))
    };
    let refused = |what: &str| {
        let message = format!("{what}: a key must be text");
        (String::new(), Some((message, ProblemKind::Invalid)))
    };
    match &node.value {
        Value::Scalar(Scalar::Str(text)) => (text.clone(), None),
        Value::Scalar(Scalar::Int(n)) => (n.to_string(), None),
        // Go's YAML reader makes a type of these that its JSON converter does not know.
        Value::Scalar(Scalar::Uint(_)) => refused("the key is a number that is too large"),
        Value::Scalar(Scalar::Bool(value)) => dubious(value.to_string()),
        Value::Scalar(Scalar::Float(value, _) | Scalar::Decimal(value, _)) => {
            dubious(scalar::key_of_float(*value))
        }
        Value::Scalar(Scalar::Null) => refused("the key is empty"),
        Value::Sequence(_) | Value::Mapping(_) => refused("the key is a list or a mapping"),
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
