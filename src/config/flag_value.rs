//! From a flag's text to the value of its key. Pure.

use serde_json::{Map, Value};

use super::flag::Kind;

/// The value of a flag. As in the kubelet the last one wins, and lists and maps accumulate.
pub fn flag_value(kind: Kind, texts: &[String]) -> Result<Value, String> {
    let last = texts.last().map(String::as_str).unwrap_or_default();
    let parts = || {
        texts
            .iter()
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .filter(|part| !part.is_empty())
    };
    let pairs = |separator: char| {
        parts().map(move |part| {
            let (key, value) = part
                .split_once(separator)
                .ok_or_else(|| format!("{part:?} must be written as name{separator}value"))?;
            Ok::<_, String>((key.trim().to_owned(), value.trim()))
        })
    };
    let texts_of = |separator: char| -> Result<Value, String> {
        let map = pairs(separator)
            .map(|pair| pair.map(|(key, value)| (key, Value::from(value))))
            .collect::<Result<_, _>>()?;
        Ok(Value::Object(map))
    };
    match kind {
        Kind::Bool => boolean(last).map(Value::Bool),
        Kind::Int if last.is_empty() => Ok(Value::from("")),
        Kind::Int => last
            .parse::<i64>()
            .map(Value::from)
            .map_err(|_| format!("{last:?} is not a whole number")),
        Kind::Text => Ok(Value::from(last)),
        Kind::List => Ok(Value::Array(parts().map(Value::from).collect())),
        Kind::Map => texts_of('='),
        Kind::LessMap => texts_of('<'),
        Kind::BoolMap => {
            let entry = |pair: Result<(String, &str), String>| {
                let (key, value) = pair?;
                let value = boolean(value).map_err(|problem| format!("{key}: {problem}"))?;
                Ok((key, Value::Bool(value)))
            };
            Ok(Value::Object(
                pairs('=').map(entry).collect::<Result<_, String>>()?,
            ))
        }
        Kind::MultiMap => {
            let mut map = Map::new();
            for pair in pairs(':') {
                let (key, value) = pair?;
                let values = map.entry(key).or_insert_with(|| Value::Array(Vec::new()));
                values
                    .as_array_mut()
                    .expect("made a list above")
                    .push(Value::from(value));
            }
            Ok(Value::Object(map))
        }
    }
}

/// Parses a boolean as Go's flag package does.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}
