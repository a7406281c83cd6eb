//! The events of a YAML parser to trees: anchors shared, keys made text, duplicates found, merges done, all within
//! budgets.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use saphyr_parser::{Event, ScalarStyle, Tag};

use super::path::{Fault, FieldPath, MOST_FAULTS};
use super::scalar;
use super::tree::{Entry, Node, Scalar, Value};
use super::yaml::Document;

/// The deepest nesting: a pod's deepest field lies some 12 levels deep, in a list a few more.
const MOST_LEVELS: usize = 64;
/// The most values in one file, those that aliases repeat counted each time. A pod has some hundred.
const MOST_VALUES: usize = 100_000;
/// The longest path that is told.
const MOST_SEGMENTS: usize = 16;

/// A collection that is not closed yet.
struct Frame {
    line: usize,
    anchor: usize,
    kind: Kind,
}

enum Kind {
    Sequence(Vec<Rc<Node>>),
    /// The entries, those whose key is `<<`, and the key whose value comes next.
    Mapping(Vec<Entry>, Vec<Rc<Node>>, Option<Key>),
}

struct Key {
    text: String,
    line: usize,
    merge: bool,
}

/// Puts the events of a parser together.
#[derive(Default)]
pub(super) struct Composer {
    done: Vec<Document>,
    number: usize,
    line: usize,
    stack: Vec<Frame>,
    root: Option<Rc<Node>>,
    anchors: HashMap<usize, Rc<Node>>,
    faults: Vec<Fault>,
    values: usize,
    lines_before: usize,
    /// The last scalar as it is written, for what is said about it as a key.
    written: String,
}

/// Why a document is not read further.
pub(super) struct Stop {
    /// The line in the file.
    pub(super) line: usize,
    /// What is wrong there.
    pub(super) message: String,
}

impl Composer {
    /// Goes on after so many documents, lines and values of the file.
    pub(super) fn after(documents: usize, lines: usize, values: usize) -> Composer {
        Composer {
            number: documents,
            lines_before: lines,
            values,
            ..Composer::default()
        }
    }

    /// How many values the file has so far.
    pub(super) fn values(&self) -> usize {
        self.values
    }

    /// The documents that were read.
    pub(super) fn into_documents(self) -> Vec<Document> {
        self.done
    }

    /// Takes the next event. `line` is the line in what is being parsed.
    pub(super) fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), Stop> {
        let line = self.lines_before + line;
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.number += 1;
                self.line = line;
                self.anchors.clear();
                Ok(())
            }
            Event::DocumentEnd => {
                self.close_document(true);
                Ok(())
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned().ok_or_else(|| Stop {
                    line,
                    message: "an alias refers to a value that contains the alias itself".into(),
                })?;
                self.count(node.size, line)?;
                self.add(node, line, false)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, anchor, tag.as_deref(), line)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_collection_tag(tag.as_deref(), "seq", line);
                self.open(line, anchor, Kind::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.check_collection_tag(tag.as_deref(), "map", line);
                self.open(line, anchor, Kind::Mapping(Vec::new(), Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn open(&mut self, line: usize, anchor: usize, kind: Kind) -> Result<(), Stop> {
        if self.stack.len() >= MOST_LEVELS {
            return Err(Stop {
                line,
                message: format!("values are nested more than {MOST_LEVELS} levels deep"),
            });
        }
        self.stack.push(Frame { line, anchor, kind });
        self.count(1, line)
    }

    fn close(&mut self) -> Result<(), Stop> {
        let frame = self.stack.pop().expect("the parser closes only what it opened");
        let value = match frame.kind {
            Kind::Sequence(items) => Value::Sequence(items),
            Kind::Mapping(entries, merges, _) => {
                let entries = self.without_duplicates(entries);
                Value::Mapping(self.merged(entries, &merges))
            }
        };
        let node = Rc::new(Node::new(frame.line, value));
        if frame.anchor > 0 {
            self.anchors.insert(frame.anchor, node.clone());
        }
        self.add(node, frame.line, false)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        line: usize,
    ) -> Result<(), Stop> {
        let plain = style == ScalarStyle::Plain;
        if plain {
            text.clone_into(&mut self.written);
        }
        let merge = plain && tag.is_none() && text == "<<";
        let scalar = match scalar::tagged(text, plain, tag) {
            Ok(scalar) => scalar,
            Err(message) => {
                self.fault(line, message);
                Scalar::Null
            }
        };
        let node = Rc::new(Node::new(line, Value::Scalar(scalar)));
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.count(1, line)?;
        self.add(node, line, merge)
    }

    /// Counts values, those that an alias repeats once more.
    fn count(&mut self, values: usize, line: usize) -> Result<(), Stop> {
        self.values = self.values.saturating_add(values);
        if self.values > MOST_VALUES {
            return Err(Stop {
                line,
                message: format!(
                    "there are more than {MOST_VALUES} values, those that aliases repeat included"
                ),
            });
        }
        Ok(())
    }

    /// Puts a complete value where it belongs: at the top, into a list, as a key, or as the value of a key.
    fn add(&mut self, node: Rc<Node>, line: usize, merge: bool) -> Result<(), Stop> {
        if self.stack.len() + node.levels > MOST_LEVELS {
            return Err(Stop {
                line,
                message: format!("values are nested more than {MOST_LEVELS} levels deep"),
            });
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut frame.kind {
            Kind::Sequence(items) => items.push(node),
            Kind::Mapping(entries, merges, pending) => match pending.take() {
                Some(key) if key.merge => merges.push(node),
                Some(key) => entries.push(Entry {
                    key: key.text,
                    line: key.line,
                    value: node,
                }),
                None => {
                    let (text, problem) = key_text(&node, &self.written);
                    *pending = Some(Key { text, line, merge });
                    if let Some(message) = problem {
                        self.fault(line, message);
                    }
                }
            },
        }
        Ok(())
    }

    /// The entries with the first of each key; every other is a fault.
    fn without_duplicates(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by(|a, b| entries[*a].key.cmp(&entries[*b].key).then(a.cmp(b)));
        // The line of the entry that has the key first, for each that has it again.
        let mut first_lines: Vec<Option<usize>> = vec![None; entries.len()];
        for pair in order.windows(2) {
            let (before, this) = (pair[0], pair[1]);
            if entries[before].key == entries[this].key {
                first_lines[this] = Some(first_lines[before].unwrap_or(entries[before].line));
            }
        }
        let mut kept = Vec::with_capacity(entries.len());
        for (entry, first_line) in entries.into_iter().zip(first_lines) {
            let Some(first_line) = first_line else {
                kept.push(entry);
                continue;
            };
            let path = field(&self.path(), &entry.key);
            self.push_fault(Fault {
                path,
                line: Some(entry.line),
                message: format!(
                    "the key {:?} is on line {first_line} already: keep one of the two",
                    entry.key
                ),
            });
        }
        kept
    }

    /// The entries with those of `<<: *alias` behind them, where they are not there already (YAML 1.1, merge).
    fn merged(&mut self, mut entries: Vec<Entry>, merges: &[Rc<Node>]) -> Vec<Entry> {
        if merges.is_empty() {
            return entries;
        }
        let mut there: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        for node in merges {
            let sources: Vec<&Rc<Node>> = match &node.value {
                Value::Sequence(items) => items.iter().collect(),
                _ => vec![node],
            };
            for source in sources {
                let Value::Mapping(more) = &source.value else {
                    self.fault(node.line, "`<<` merges mappings only".into());
                    continue;
                };
                for entry in more {
                    if there.insert(entry.key.clone()) {
                        entries.push(entry.clone());
                    }
                }
            }
        }
        entries
    }

    fn check_collection_tag(&mut self, tag: Option<&Tag>, own: &str, line: usize) {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && tag.suffix == own)
        {
            self.fault(line, scalar::unknown_tag(tag));
        }
    }

    fn fault(&mut self, line: usize, message: String) {
        let path = self.path();
        self.push_fault(Fault {
            path,
            line: Some(line),
            message,
        });
    }

    fn push_fault(&mut self, fault: Fault) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(fault);
        }
    }

    /// The path of what is being read, as far as a person reads it.
    fn path(&self) -> FieldPath {
        self.stack
            .iter()
            .take(MOST_SEGMENTS)
            .fold(FieldPath::default(), |path, frame| match &frame.kind {
                Kind::Sequence(items) => path.index(items.len()),
                Kind::Mapping(_, _, Some(key)) => field(&path, &key.text),
                Kind::Mapping(_, _, None) => path,
            })
    }

    /// Ends the document that cannot be read further.
    pub(super) fn fail(&mut self, stop: &Stop) {
        if self.number == self.done.last().map_or(0, |d| d.number) {
            // The error lies before the first event of a document of its own.
            self.number += 1;
            self.line = stop.line;
        }
        let path = self.path();
        self.faults.push(Fault {
            path,
            line: Some(stop.line),
            message: stop.message.clone(),
        });
        // Only what is closed is told: a truncated name is another pod's name.
        if let Some(frame) = self.stack.drain(..).next()
            && let Kind::Mapping(entries, _, _) = frame.kind
        {
            self.root = Some(Rc::new(Node::new(frame.line, Value::Mapping(entries))));
        }
        self.close_document(false);
    }

    fn close_document(&mut self, complete: bool) {
        self.done.push(Document {
            number: self.number,
            line: self.line,
            root: self.root.take(),
            complete,
            faults: std::mem::take(&mut self.faults),
        });
    }
}

impl Node {
    fn new(line: usize, value: Value) -> Node {
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

/// The text of a key, and what is wrong with it.
fn key_text(node: &Node, written: &str) -> (String, Option<String>) {
    let quote = |kind: &str| {
        let message =
            format!("the key {written} is read as {kind}, and a key must be text: put it in quotes");
        (written.to_owned(), Some(message))
    };
    match &node.value {
        Value::Scalar(Scalar::Str(text)) => (text.clone(), None),
        // The kubelet's reader makes text of whole numbers.
        Value::Scalar(Scalar::Int(n)) => (n.to_string(), None),
        Value::Scalar(Scalar::Uint(n)) => (n.to_string(), None),
        Value::Scalar(Scalar::Bool(_)) => quote("true or false"),
        Value::Scalar(Scalar::Float(..)) => quote("a number"),
        Value::Scalar(Scalar::Null) => (String::new(), Some("a key is empty: a key must be text".into())),
        Value::Sequence(_) | Value::Mapping(_) => (
            String::new(),
            Some("a list or a mapping is used as a key: a key must be text".into()),
        ),
    }
}

/// The path of a key: one that no field can have is a map's.
fn field(path: &FieldPath, key: &str) -> FieldPath {
    if !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric()) {
        path.field(key.to_owned())
    } else {
        path.key(key)
    }
}
