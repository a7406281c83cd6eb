//! A document as a tree with line numbers: the common form of YAML and JSON.

use std::rc::Rc;

use crate::manifest::path::{FieldPath, Segment};
use crate::model::yaml::scalar::Scalar;

/// A value of a document.
#[derive(Debug)]
pub(crate) struct Node {
    /// The line in the file on which it starts, from 1.
    pub(crate) line: usize,
    /// What it is.
    pub(crate) value: Value,
    /// The number of values in it, itself included; a shared one counts each time it is used.
    pub(crate) size: usize,
    /// The depth of nested collections, itself included; 0 for a scalar.
    pub(crate) levels: usize,
}

/// The three kinds of values. An anchor's value is shared, not copied.
#[derive(Debug)]
pub(crate) enum Value {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Rc<Node>>),
    /// A mapping, in the order of the file, without duplicates.
    Mapping(Vec<Entry>),
}

/// One entry of a mapping.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: String,
    /// The line of the key.
    pub(crate) line: usize,
    /// The value.
    pub(crate) value: Rc<Node>,
}

impl Node {
    /// The value of a key, if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Rc<Node>> {
        match &self.value {
            Value::Mapping(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.value),
            _ => None,
        }
    }

    /// Likewise in any letter case; of several, the last.
    pub(crate) fn get_in_any_case(&self, key: &str) -> Option<&Rc<Node>> {
        let Value::Mapping(entries) = &self.value else {
            return None;
        };
        let found = entries.iter().rev().find(|e| e.key.eq_ignore_ascii_case(key));
        found.map(|e| &e.value)
    }

    /// The text, if this is text.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(Scalar::Str(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether this is null.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Scalar(Scalar::Null))
    }

    /// Whether the path leads to a value.
    pub(crate) fn has(&self, path: &FieldPath) -> bool {
        let mut node = self;
        path.segments().into_iter().all(|segment| {
            let next = match (segment, &node.value) {
                (Segment::Field(name), _) => node.get(name),
                (Segment::Key(name), _) => node.get(name),
                (Segment::Index(index), Value::Sequence(items)) => items.get(*index),
                _ => None,
            };
            next.inspect(|next| node = next).is_some()
        })
    }

    /// The line of the path's target; where the path ends early, of its last existing part.
    pub(crate) fn line_of(&self, path: &FieldPath) -> usize {
        let mut node = self;
        let mut line = self.line;
        for segment in path.segments() {
            let next = match (segment, &node.value) {
                (Segment::Field(name), Value::Mapping(entries)) => entries.iter().find(|e| e.key == *name),
                (Segment::Key(name), Value::Mapping(entries)) => entries.iter().find(|e| e.key == *name),
                (Segment::Index(index), Value::Sequence(items)) => {
                    let Some(item) = items.get(*index) else { break };
                    line = item.line;
                    node = item;
                    continue;
                }
                _ => None,
            };
            let Some(entry) = next else { break };
            line = entry.line;
            node = &entry.value;
        }
        line
    }
}

impl Node {
    /// A value, counted with everything below it.
    pub(crate) fn new(line: usize, value: Value) -> Node {
        let (size, levels) = match &value {
            Value::Scalar(_) => (1, 0),
            Value::Sequence(items) => measure(items.iter()),
            Value::Mapping(entries) => measure(entries.iter().map(|e| &e.value)),
        };
        Node {
            line,
            value,
            size,
            levels,
        }
    }
}

fn measure<'a>(children: impl Iterator<Item = &'a Rc<Node>>) -> (usize, usize) {
    let (mut size, mut levels) = (1_usize, 0);
    for child in children {
        size = size.saturating_add(child.size);
        levels = levels.max(child.levels);
    }
    (size, levels + 1)
}
