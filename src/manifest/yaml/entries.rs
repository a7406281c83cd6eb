//! The entries of a mapping while it is read, and which entry of a duplicate key is used.

use std::collections::HashMap;
use std::rc::Rc;

use super::tree::{Entry, Node, Value};

/// The entries of a mapping that is not closed yet.
#[derive(Default)]
pub(crate) struct Entries {
    /// In the order in which their keys first appear.
    pub(crate) list: Vec<Entry>,
    /// The position of each key in the list.
    places: HashMap<String, Place>,
    /// The key whose value comes next.
    pub(crate) pending: Option<Key>,
}

struct Place {
    index: usize,
    /// The line of the key if it is written in this mapping; `None` where `<<` merged it.
    own_line: Option<usize>,
}

impl Entries {
    /// The current value of a key.
    pub(crate) fn value_of(&self, key: &str) -> Option<&Rc<Node>> {
        let place = self.places.get(key)?;
        Some(&self.list[place.index].value)
    }

    /// Inserts an entry: of two with one key the last is used. Returns the line of the other if both are written in
    /// this mapping.
    pub(crate) fn put(&mut self, entry: Entry, own_line: Option<usize>) -> Option<usize> {
        let Some(place) = self.places.get_mut(&entry.key) else {
            let index = self.list.len();
            self.places.insert(entry.key.clone(), Place { index, own_line });
            self.list.push(entry);
            return None;
        };
        let before = std::mem::replace(&mut place.own_line, own_line);
        self.list[place.index] = entry;
        before.filter(|_| own_line.is_some())
    }
}

/// A key whose value comes next.
pub(crate) struct Key {
    /// Its text.
    pub(crate) text: String,
    /// Its line.
    pub(crate) line: usize,
    /// Whether it is `<<`.
    pub(crate) merge: bool,
}

/// Merges two values of one key as Go's JSON reader does: objects are merged by field, lists item by item, and
/// otherwise the last is used.
pub(crate) fn put_together(former: &Rc<Node>, own: &Rc<Node>) -> Rc<Node> {
    let value = match (&former.value, &own.value) {
        (Value::Mapping(before), Value::Mapping(entries)) => {
            let mut all = Entries::default();
            for entry in before {
                all.put(entry.clone(), None);
            }
            for entry in entries {
                let former = all.value_of(&entry.key).cloned();
                let value = match &former {
                    Some(former) => put_together(former, &entry.value),
                    None => entry.value.clone(),
                };
                all.put(
                    Entry {
                        value,
                        ..entry.clone()
                    },
                    None,
                );
            }
            Value::Mapping(all.list)
        }
        (Value::Sequence(before), Value::Sequence(items)) => {
            let mut before = before.iter();
            let items = items.iter().map(|item| match before.next() {
                Some(former) => put_together(former, item),
                None => item.clone(),
            });
            Value::Sequence(items.collect())
        }
        _ => return own.clone(),
    };
    Rc::new(Node::new(own.line, value))
}
