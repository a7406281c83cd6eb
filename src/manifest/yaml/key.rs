//! The key of an entry as text, and the path of what lies beneath it.

use super::scalar;
use super::tree::{Node, Scalar, Value};
use crate::manifest::path::FieldPath;
use crate::model::pod::ProblemKind;

/// The text of a key, and what is wrong or dubious with it. The kubelet's reader makes text of numbers and booleans.
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
        // Of these Go's reader makes a type that its converter does not know.
        Value::Scalar(Scalar::Uint(_)) => refused("the number of a key is too large"),
        Value::Scalar(Scalar::Bool(value)) => dubious(value.to_string()),
        Value::Scalar(Scalar::Float(value, _) | Scalar::Decimal(value, _)) => {
            dubious(scalar::key_of_float(*value))
        }
        Value::Scalar(Scalar::Null) => refused("a key is empty"),
        Value::Sequence(_) | Value::Mapping(_) => refused("a list or a mapping is used as a key"),
    }
}

/// The path of a key: one that no field can have is a map's.
pub(super) fn field(path: &FieldPath, key: &str) -> FieldPath {
    if !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric()) {
        path.field(key.to_owned())
    } else {
        path.key(key)
    }
}
