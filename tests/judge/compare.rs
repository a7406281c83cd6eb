//! Whether two objects are the same pod: the one the kubelet would run, and ours.

use serde_json::Value;

/// Fields whose empty object Go always writes, for they are no pointers.
const ALWAYS_WRITTEN: &[&str] = &["resources"];
/// Maps, of which an empty one is none.
const MAPS: &[&str] = &[
    "annotations",
    "labels",
    "limits",
    "requests",
    "overhead",
    "nodeSelector",
    "matchLabels",
    "options",
    "volumeAttributes",
];

/// The first difference, as path and both values.
pub fn difference(kubelet: &Value, ours: &Value) -> Option<String> {
    differ("", kubelet, ours)
}

fn differ(path: &str, kubelet: &Value, ours: &Value) -> Option<String> {
    match (kubelet, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let below = |key: &str| match path {
                "" => key.to_owned(),
                path => format!("{path}.{key}"),
            };
            for (key, value) in a {
                let other = b.get(key).unwrap_or(&Value::Null);
                if other.is_null()
                    && (value.is_null() || (is_empty(value) && ALWAYS_WRITTEN.contains(&key.as_str())))
                {
                    continue;
                }
                if let Some(found) = differ(&below(key), value, other) {
                    return Some(found);
                }
            }
            // Go leaves out what is zero unless it is behind a pointer, and then it was stated.
            let more = b.iter().find(|(key, value)| {
                let is_left_out = match value {
                    Value::Object(entries) => {
                        entries.is_empty() && [MAPS, ALWAYS_WRITTEN].concat().contains(&key.as_str())
                    }
                    value => is_zero(value),
                };
                !a.contains_key(*key) && !is_left_out
            });
            more.map(|(key, value)| format!("{}: kubelet has none, ours {value}", below(key)))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(index, (a, b))| differ(&format!("{path}[{index}]"), a, b))
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{path}: kubelet {a}, ours {b}")),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => false,
    }
}
