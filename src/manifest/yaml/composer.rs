//! Builds trees from the events of a YAML parser: anchors shared, keys made text, duplicates found, merges done, all
//! within budgets.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, ScalarStyle, Tag};

use super::document::Document;
use super::entries::{Entries, Key, put_together};
use super::key::{field, key_text};
use super::tree::{Entry, Node, Value};
use crate::manifest::path::{Fault, FieldPath, MOST_FAULTS};
use crate::model::pod::ProblemKind;
use crate::model::yaml::scalar::{self, Scalar};

/// The deepest nesting: a pod's deepest field is some 12 levels deep, in a list a few more.
const MOST_LEVELS: usize = 64;
/// The most values in one file, counting those that aliases repeat each time. A pod has some hundred.
const MOST_VALUES: usize = 100_000;
/// The longest path that is reported.
const MOST_SEGMENTS: usize = 16;

/// A collection that is not closed yet.
struct Frame {
    line: usize,
    anchor: usize,
    kind: Kind,
}

enum Kind {
    Sequence(Vec<Rc<Node>>),
    Mapping(Entries),
}

/// Builds documents from a parser's events.
#[derive(Default)]
pub(crate) struct Composer {
    done: Vec<Document>,
    number: usize,
    line: usize,
    stack: Vec<Frame>,
    root: Option<Rc<Node>>,
    anchors: HashMap<usize, Rc<Node>>,
    faults: Vec<Fault>,
    values: usize,
    lines_before: usize,
    syntax: Syntax,
    /// The last scalar as it is written, for messages about it as a key.
    written: String,
}

/// The syntax of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// YAML.
    #[default]
    Yaml,
    /// Strict JSON: Go's reader merges the objects of a duplicate key.
    Json,
}

/// Why a document is not read further.
pub(crate) struct Stop {
    /// The line in the file.
    pub(crate) line: usize,
    /// The problem.
    pub(crate) message: String,
    /// The kind of the refusal.
    pub(crate) kind: ProblemKind,
}

impl Composer {
    /// Continues after this many documents, lines and values of the file.
    pub(crate) fn after(documents: usize, lines: usize, values: usize, syntax: Syntax) -> Composer {
        Composer {
            syntax,
            number: documents,
            lines_before: lines,
            values,
            ..Composer::default()
        }
    }

    /// The number of values in the file so far.
    pub(crate) fn values(&self) -> usize {
        self.values
    }

    /// The documents that were read.
    pub(crate) fn into_documents(self) -> Vec<Document> {
        self.done
    }

    /// Takes the next event. `line` is its line in the parsed text.
    pub(crate) fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), Stop> {
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
                    kind: ProblemKind::Invalid,
                })?;
                self.count(node.size, line)?;
                if self.is_merge_next() && !matches!(node.value, Value::Mapping(_)) {
                    self.fault(
                        line,
                        "`<<` merges only a mapping, or a list of mappings written in place".into(),
                    );
                }
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
                self.open(line, anchor, Kind::Mapping(Entries::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn open(&mut self, line: usize, anchor: usize, kind: Kind) -> Result<(), Stop> {
        if self.stack.len() >= MOST_LEVELS {
            return Err(Stop {
                line,
                message: format!("values are nested more than {MOST_LEVELS} levels deep"),
                kind: ProblemKind::Bound,
            });
        }
        self.stack.push(Frame { line, anchor, kind });
        self.count(1, line)
    }

    fn close(&mut self) -> Result<(), Stop> {
        let frame = self.stack.pop().expect("the parser closes only what it opened");
        let value = match frame.kind {
            Kind::Sequence(items) => Value::Sequence(items),
            Kind::Mapping(entries) => Value::Mapping(entries.list),
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
        if let Scalar::Float(value, _) = scalar
            && !value.is_finite()
            && !self.is_key_next()
        {
            self.fault(
                line,
                "is a number that JSON, and so Kubernetes, does not have: put it in quotes".into(),
            );
        }
        let scalar = match scalar {
            Scalar::Float(value, text) if self.syntax == Syntax::Json => Scalar::Decimal(value, text),
            scalar => scalar,
        };
        if let Some(tag) = tag.filter(|tag| scalar::is_unknown(tag)) {
            self.note(line, unknown_tag(tag), ProblemKind::Dubious);
        }
        let node = Rc::new(Node::new(line, Value::Scalar(scalar)));
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.count(1, line)?;
        self.add(node, line, merge)
    }

    /// Whether the next value is the key of an entry.
    fn is_key_next(&self) -> bool {
        let top = self.stack.last().map(|frame| &frame.kind);
        matches!(top, Some(Kind::Mapping(entries)) if entries.pending.is_none())
    }

    /// Whether the next value is merged into a mapping.
    fn is_merge_next(&self) -> bool {
        let top = self.stack.last().map(|frame| &frame.kind);
        matches!(top, Some(Kind::Mapping(entries)) if entries.pending.as_ref().is_some_and(|key| key.merge))
    }

    /// Counts values, including those that an alias repeats.
    fn count(&mut self, values: usize, line: usize) -> Result<(), Stop> {
        self.values = self.values.saturating_add(values);
        if self.values > MOST_VALUES {
            return Err(Stop {
                line,
                message: format!(
                    "there are more than {MOST_VALUES} values, including those that aliases repeat"
                ),
                kind: ProblemKind::Bound,
            });
        }
        Ok(())
    }

    /// Adds a complete value in its place: at the top, in a list, as a key, or as the value of a key.
    fn add(&mut self, node: Rc<Node>, line: usize, merge: bool) -> Result<(), Stop> {
        if self.stack.len() + node.levels > MOST_LEVELS {
            return Err(Stop {
                line,
                message: format!("values are nested more than {MOST_LEVELS} levels deep"),
                kind: ProblemKind::Bound,
            });
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        let entries = match &mut frame.kind {
            Kind::Sequence(items) => {
                items.push(node);
                return Ok(());
            }
            Kind::Mapping(entries) => entries,
        };
        let Some(key) = entries.pending.take() else {
            let (text, fault) = key_text(&node, &self.written);
            entries.pending = Some(Key { text, line, merge });
            if let Some((message, kind)) = fault {
                self.note(line, message, kind);
            }
            return Ok(());
        };
        if key.merge {
            return self.merge(&node);
        }
        let (text, line) = (key.text, key.line);
        let former = entries.value_of(&text).filter(|_| self.syntax == Syntax::Json);
        let (value, read_again) = match former {
            Some(former) => (put_together(former, &node), former.size),
            None => (node, 0),
        };
        let entry = Entry {
            key: text.clone(),
            line,
            value,
        };
        let twice = entries.put(entry, Some(line));
        // Otherwise a key that is repeated a thousand times would cost a million steps.
        self.count(read_again, line)?;
        if let Some(first) = twice {
            self.push_fault(Fault {
                path: field(&self.path(), &text),
                line: Some(line),
                message: format!(
                    "the key {text:?} is already on line {first}, and the later one is used: keep one of the two"
                ),
                kind: ProblemKind::Dubious,
            });
        }
        Ok(())
    }

    /// Adds the entries of `<<: *alias` (YAML 1.1, merge). As in the kubelet's reader, they replace earlier entries,
    /// and later entries replace them; of several mappings the first takes precedence.
    fn merge(&mut self, node: &Rc<Node>) -> Result<(), Stop> {
        let sources: Vec<&Rc<Node>> = match &node.value {
            Value::Sequence(items) => items.iter().rev().collect(),
            _ => vec![node],
        };
        let mut more = Vec::new();
        for source in sources {
            match &source.value {
                Value::Mapping(entries) => more.extend(entries.iter().cloned()),
                _ => self.fault(node.line, "`<<` merges only mappings".into()),
            }
        }
        self.count(more.len(), node.line)?;
        if let Some(Frame {
            kind: Kind::Mapping(entries),
            ..
        }) = self.stack.last_mut()
        {
            for entry in more {
                entries.put(entry, None);
            }
        }
        Ok(())
    }

    fn check_collection_tag(&mut self, tag: Option<&Tag>, own: &str, line: usize) {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && tag.suffix == own)
        {
            self.note(line, unknown_tag(tag), ProblemKind::Dubious);
        }
    }

    fn fault(&mut self, line: usize, message: String) {
        self.note(line, message, ProblemKind::Invalid);
    }

    fn note(&mut self, line: usize, message: String, kind: ProblemKind) {
        let path = self.path();
        self.push_fault(Fault {
            path,
            line: Some(line),
            message,
            kind,
        });
    }

    fn push_fault(&mut self, fault: Fault) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(fault);
        }
    }

    /// The path of the value that is being read, up to a readable length.
    fn path(&self) -> FieldPath {
        self.stack
            .iter()
            .take(MOST_SEGMENTS)
            .fold(FieldPath::default(), |path, frame| match &frame.kind {
                Kind::Sequence(items) => path.index(items.len()),
                Kind::Mapping(entries) => match &entries.pending {
                    Some(key) => field(&path, &key.text),
                    None => path,
                },
            })
    }

    /// Ends a document that cannot be read further.
    pub(crate) fn fail(&mut self, stop: &Stop) {
        if self.number == self.done.last().map_or(0, |d| d.number) {
            // The error precedes the first event of its own document.
            self.number += 1;
            self.line = stop.line;
        }
        let path = self.path();
        self.faults.push(Fault {
            path,
            line: Some(stop.line),
            message: stop.message.clone(),
            kind: stop.kind,
        });
        // Only closed values are reported: a truncated name is another pod's name.
        if let Some(frame) = self.stack.drain(..).next()
            && let Kind::Mapping(entries) = frame.kind
        {
            self.root = Some(Rc::new(Node::new(frame.line, Value::Mapping(entries.list))));
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

/// The warning about a tag that has no meaning here.
fn unknown_tag(tag: &Tag) -> String {
    format!("the tag {tag} has no meaning in a manifest and is ignored: remove it")
}
