//! JSON pointers (RFC 6901) into a value. Pure.

use serde_json::Value;

/// A pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

/// The last part of a pointer, in what it points into.
pub(super) enum Place<'a> {
    /// A field of an object.
    Field(&'a mut serde_json::Map<String, Value>, &'a str),
    /// An index of a list, which may be one behind its end.
    Index(&'a mut Vec<Value>, usize),
}

impl Pointer {
    /// `None`: it is no pointer.
    pub(super) fn parse(text: &str) -> Option<Pointer> {
        match text.split_once('/') {
            None => text.is_empty().then(|| Pointer(Vec::new())),
            Some(("", rest)) => {
                let parts = rest
                    .split('/')
                    .map(|part| part.replace("~1", "/").replace("~0", "~"));
                Some(Pointer(parts.collect()))
            }
            Some(_) => None,
        }
    }

    /// Whether it points to the whole.
    pub(super) fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `other` points to this or to something within it.
    pub(super) fn contains(&self, other: &Pointer) -> bool {
        other.0.starts_with(&self.0)
    }

    /// The value that is there.
    pub(super) fn get<'a>(&self, from: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(from, |value, part| match value {
            Value::Object(map) => map.get(part),
            Value::Array(list) => list.get(index(part)?),
            _ => None,
        })
    }

    /// The place that it points to, if what it is in exists. `-` is behind the end of a list.
    pub(super) fn place<'a>(&'a self, within: &'a mut Value) -> Option<Place<'a>> {
        let (last, parents) = self.0.split_last()?;
        let parent = parents.iter().try_fold(within, |value, part| match value {
            Value::Object(map) => map.get_mut(part),
            Value::Array(list) => list.get_mut(index(part)?),
            _ => None,
        })?;
        match parent {
            Value::Object(map) => Some(Place::Field(map, last)),
            Value::Array(list) => {
                let at = match last.as_str() {
                    "-" => list.len(),
                    last => index(last)?,
                };
                (at <= list.len()).then_some(Place::Index(list, at))
            }
            _ => None,
        }
    }
}

fn index(part: &str) -> Option<usize> {
    let is_plain = part == "0" || !part.starts_with(['0', '+']);
    is_plain.then(|| part.parse().ok())?
}
