//! A manifest as a tree that remembers how each scalar is written, and the forms in which it is written out.

use saphyr_parser::{Event, Parser, ScalarStyle};

/// A value of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A scalar without quotes: what it means is the reader's business.
    Plain(String),
    /// A scalar in quotes.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping; a key may stand in it twice.
    Map(Vec<(Node, Node)>),
    /// A value with an anchor.
    Anchored(String, Box<Node>),
    /// An alias of an anchored value.
    Alias(String),
}

/// How a tree is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// YAML in blocks.
    Block,
    /// JSON; a plain scalar that JSON does not know is put in quotes.
    Json,
    /// YAML in braces on one line, which looks like JSON and may be none.
    Flow,
}

impl Node {
    /// Reads a seed.
    pub fn parse(text: &str) -> Node {
        let mut stack: Vec<(Node, Option<Node>)> = Vec::new();
        let mut done = None;
        for event in Parser::new_from_str(text) {
            let (event, _) = event.expect("a seed is YAML");
            let node = match event {
                Event::Scalar(text, ScalarStyle::Plain, ..) => Node::Plain(text.into_owned()),
                Event::Scalar(text, ..) => Node::Text(text.into_owned()),
                Event::SequenceStart(..) => {
                    stack.push((Node::List(Vec::new()), None));
                    continue;
                }
                Event::MappingStart(..) => {
                    stack.push((Node::Map(Vec::new()), None));
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => stack.pop().expect("it was opened").0,
                _ => continue,
            };
            match stack.last_mut() {
                None => done = Some(node),
                Some((Node::List(items), _)) => items.push(node),
                Some((Node::Map(entries), key)) => match key.take() {
                    None => *key = Some(node),
                    Some(key) => entries.push((key, node)),
                },
                Some(_) => unreachable!("only collections are opened"),
            }
        }
        done.expect("a seed has a document")
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match self {
            Node::Plain(text) | Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of the manifest.
    pub fn written(&self, form: Form) -> String {
        let mut out = String::new();
        match form {
            Form::Block => block(self, 0, &mut out),
            Form::Json | Form::Flow => flow(self, form, &mut out),
        }
        if !out.ends_with('\n') {
            out.push('\n');
        }
        out
    }

    /// The nodes below, each with its path; `into` is called before what is below it.
    pub fn walk<'a>(&'a self, path: &mut Vec<Step>, into: &mut impl FnMut(&[Step], &'a Node)) {
        into(path, self);
        match self {
            Node::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(Step::Item(index));
                    item.walk(path, into);
                    path.pop();
                }
            }
            Node::Map(entries) => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    path.push(Step::Entry(index, key.text().unwrap_or_default().to_owned()));
                    value.walk(path, into);
                    path.pop();
                }
            }
            _ => {}
        }
    }

    /// The node that a path leads to.
    pub fn at(&mut self, path: &[Step]) -> Option<&mut Node> {
        path.iter().try_fold(self, |node, step| match (node, step) {
            (Node::List(items), Step::Item(index)) => items.get_mut(*index),
            (Node::Map(entries), Step::Entry(index, _)) => entries.get_mut(*index).map(|(_, value)| value),
            _ => None,
        })
    }
}

/// One step of a path: an item of a list, or an entry of a mapping by its place and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An item.
    Item(usize),
    /// An entry.
    Entry(usize, String),
}

/// The path as people write it.
pub fn shown(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Item(index) => text += &format!("[{index}]"),
            Step::Entry(_, key) if text.is_empty() => text += key,
            Step::Entry(_, key) => text += &format!(".{key}"),
        }
    }
    text
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string serializes to JSON")
}

fn scalar(node: &Node) -> Option<String> {
    match node {
        Node::Plain(text) => Some(text.clone()),
        Node::Text(text) => Some(quoted(text)),
        Node::Alias(name) => Some(format!("*{name}")),
        Node::List(items) if items.is_empty() => Some("[]".to_owned()),
        Node::Map(entries) if entries.is_empty() => Some("{}".to_owned()),
        _ => None,
    }
}

fn block(node: &Node, indent: usize, out: &mut String) {
    let margin = " ".repeat(indent);
    match node {
        Node::List(items) if !items.is_empty() => {
            for item in items {
                *out += &format!("{margin}-");
                below(item, indent + 2, out);
            }
        }
        Node::Map(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                match scalar(key) {
                    Some(key) => *out += &format!("{margin}{key}:"),
                    None => {
                        *out += &format!("{margin}? ");
                        flow(key, Form::Flow, out);
                        *out += &format!("\n{margin}:");
                    }
                }
                below(value, indent + 2, out);
            }
        }
        Node::Anchored(name, value) => {
            *out += &format!("{margin}&{name}\n");
            block(value, indent, out);
        }
        other => *out += &format!("{margin}{}\n", scalar(other).unwrap_or_default()),
    }
}

fn below(node: &Node, indent: usize, out: &mut String) {
    let (anchor, node) = match node {
        Node::Anchored(name, value) => (format!(" &{name}"), &**value),
        node => (String::new(), node),
    };
    *out += &anchor;
    match scalar(node) {
        Some(text) => *out += &format!(" {text}\n"),
        None => {
            out.push('\n');
            block(node, indent, out);
        }
    }
}

fn flow(node: &Node, form: Form, out: &mut String) {
    match node {
        Node::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                *out += if index > 0 { ", " } else { "" };
                flow(item, form, out);
            }
            out.push(']');
        }
        Node::Map(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                *out += if index > 0 { ", " } else { "" };
                match (form, key.text()) {
                    (Form::Json, Some(text)) => *out += &quoted(text),
                    _ => flow(key, form, out),
                }
                *out += ": ";
                flow(value, form, out);
            }
            out.push('}');
        }
        Node::Anchored(_, value) if form == Form::Json => flow(value, form, out),
        Node::Anchored(name, value) => {
            *out += &format!("&{name} ");
            flow(value, form, out);
        }
        Node::Plain(text)
            if form == Form::Json && serde_json::from_str::<serde_json::Value>(text).is_err() =>
        {
            *out += &quoted(text);
        }
        other => *out += &scalar(other).unwrap_or_default(),
    }
}
