//! The messages about a value of the wrong type.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::manifest::path::FieldPath;
use crate::manifest::yaml::tree::Node;

/// Where an error is.
pub(crate) struct Place {
    /// The path of the value.
    pub(crate) path: FieldPath,
    /// The line of its key, or else its own.
    pub(crate) line: usize,
    /// The value itself.
    pub(crate) id: *const Node,
}

/// A value of the wrong type.
pub(crate) struct Error {
    /// What is wrong.
    pub(crate) message: String,
    /// Where, once that is known.
    pub(crate) place: Option<Place>,
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Error {
        Error {
            message: message.to_string(),
            place: None,
        }
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Error {
        let wanted = wanted.to_string();
        let quotes = match (&found, wanted.as_str()) {
            (
                Unexpected::Bool(_) | Unexpected::Signed(_) | Unexpected::Unsigned(_) | Unexpected::Float(_),
                "a string",
            ) => ": put it in quotes",
            (Unexpected::Str(text), "i32" | "i64") if text.parse::<i64>().is_ok() => {
                ": write it without quotes"
            }
            (Unexpected::Str("true" | "false"), "a boolean") => ": write it without quotes",
            _ => "",
        };
        de::Error::custom(format_args!(
            "must be {}, not {}{quotes}",
            wanted_name(&wanted),
            found_name(&found)
        ))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Error {
        let wanted = wanted.to_string();
        de::Error::custom(format_args!(
            "{} is not {}",
            found_name(&found),
            wanted_name(&wanted)
        ))
    }
}

fn wanted_name(wanted: &str) -> String {
    match wanted {
        "a string" => "text".into(),
        "a boolean" => "true or false".into(),
        "i32" => "a 32-bit integer".into(),
        "i64" => "a 64-bit integer".into(),
        "a sequence" => "a list".into(),
        "a map" => "a mapping".into(),
        "Time" => "a time (2026-01-31T12:00:00Z)".into(),
        "Quantity" => "a quantity (500m, 64Mi)".into(),
        "IntOrString" => "a number or a name".into(),
        kind if kind.starts_with(|c: char| c.is_ascii_uppercase()) => format!("a mapping ({kind})"),
        other => other.into(),
    }
}

fn found_name(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("the boolean {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) if text.len() > 60 => "a long text".into(),
        Unexpected::Str(text) => format!("the text {text:?}"),
        Unexpected::Unit => "nothing".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a mapping".into(),
        other => other.to_string(),
    }
}
