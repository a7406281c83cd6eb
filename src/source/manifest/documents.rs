//! The documents of a file: which of them are pods, which are lists of pods, and what is wrong where.

use std::path::Path;
use std::rc::Rc;

use jiff::Timestamp;

use super::path::{Fault, FieldPath};
use super::tree::{Node, Value};
use super::{ManifestContext, ReadPod, static_pod, text, yaml};
use crate::model::pod::{PodName, Problem};

/// Of more problems than this in one file the rest is not told.
const MOST_PROBLEMS: usize = 100;

/// An object that shall be a pod.
struct Item {
    node: Rc<Node>,
    /// The path of the object within its document; empty where it is the document.
    prefix: FieldPath,
}

/// Reads the pods of one file with their contents.
pub(in crate::source) fn read(
    bytes: &[u8],
    path: &Path,
    context: &ManifestContext,
    now: Timestamp,
) -> (Vec<ReadPod>, Vec<Problem>) {
    let mut file = File {
        path,
        context,
        pods: Vec::new(),
        problems: Vec::new(),
    };
    match text::read(bytes) {
        Err(fault) => file.problem(0, None, &FieldPath::default(), fault),
        Ok(text) => {
            for document in yaml::documents(text) {
                let told = file.problems.len();
                file.document(document, now);
                // In the order in which a person meets them.
                file.problems[told..].sort_by_key(|problem| problem.line);
            }
        }
    }
    (file.pods, file.problems)
}

struct File<'a> {
    path: &'a Path,
    context: &'a ManifestContext,
    pods: Vec<ReadPod>,
    problems: Vec<Problem>,
}

impl File<'_> {
    fn document(&mut self, document: yaml::Document, now: Timestamp) {
        let yaml::Document {
            number,
            line,
            root,
            complete,
            faults,
        } = document;
        let top = FieldPath::default();
        let usable = faults.is_empty();
        for fault in faults {
            self.problem(number, root.as_ref(), &top, fault);
        }
        let Some(root) = root.filter(|root| !root.is_null()) else {
            return;
        };
        if !complete {
            return;
        }
        let items = match items(&root) {
            Ok(items) => items,
            Err(mut fault) => {
                fault.line.get_or_insert(root.line_of(&fault.path).max(line));
                return self.problem(number, Some(&root), &top, fault);
            }
        };
        for item in items {
            let item = match item {
                Ok(item) => item,
                Err(fault) => {
                    self.problem(number, Some(&root), &top, fault);
                    continue;
                }
            };
            match static_pod::read(&item.node, self.path, number, self.context, now) {
                // A key that stands twice, or a tag without meaning, may mean another pod than was read.
                Ok(read) if usable => self.add(read, number, &item),
                Ok(_) => {}
                Err(faults) => {
                    for fault in faults {
                        self.problem(number, Some(&item.node), &item.prefix, fault);
                    }
                }
            }
        }
    }

    fn add(&mut self, read: ReadPod, number: usize, item: &Item) {
        if let Some(other) = self.pods.iter().find(|other| other.pod.name == read.pod.name) {
            let crate::model::pod::Source::File { document, .. } = other.pod.source else {
                return;
            };
            let fault = Fault {
                path: FieldPath::default().field("metadata").field("name"),
                line: None,
                message: format!(
                    "document {document} of this file has a pod {} already: names must differ",
                    read.pod.name
                ),
            };
            return self.problem(number, Some(&item.node), &item.prefix, fault);
        }
        self.pods.push(read);
    }

    fn problem(&mut self, document: usize, node: Option<&Rc<Node>>, prefix: &FieldPath, fault: Fault) {
        if self.problems.len() >= MOST_PROBLEMS {
            return;
        }
        let (prefix, own) = (prefix.to_string(), fault.path.to_string());
        let separator = if prefix.is_empty() || own.is_empty() || own.starts_with('[') {
            ""
        } else {
            "."
        };
        self.problems.push(Problem {
            path: self.path.to_owned(),
            document,
            line: fault.line.or_else(|| node.map(|node| node.line_of(&fault.path))),
            field: format!("{prefix}{separator}{own}"),
            message: fault.message,
            pod: node.and_then(|node| self.name(node)),
        });
    }

    /// The name of the pod that the object would be.
    fn name(&self, node: &Node) -> Option<PodName> {
        let metadata = node.get("metadata")?;
        let name = metadata.get("name")?.as_str().filter(|name| !name.is_empty())?;
        let namespace = metadata.get("namespace").and_then(|n| n.as_str());
        Some(static_pod::name(namespace, name, self.context))
    }
}

/// The objects of a document that shall be pods.
fn items(root: &Rc<Node>) -> Result<Vec<Result<Item, Fault>>, Fault> {
    let top = FieldPath::default();
    if !matches!(root.value, Value::Mapping(_)) {
        return Err(fault(
            &top,
            "is no object: a manifest begins with apiVersion: v1 and kind: Pod",
        ));
    }
    match kind(root, &top)? {
        Kind::Pod => Ok(vec![Ok(Item {
            node: root.clone(),
            prefix: top,
        })]),
        Kind::List => list(root, Kind::List),
        Kind::PodList => list(root, Kind::PodList),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pod,
    List,
    PodList,
}

/// What the object says that it is.
fn kind(node: &Node, at: &FieldPath) -> Result<Kind, Fault> {
    let stated = |field: &'static str, right: &str| match node.get(field) {
        None => Err(fault(&at.field(field), format!("is missing: {right}"))),
        Some(value) => match value.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(fault(&at.field(field), format!("must be text: {right}"))),
        },
    };
    let kind = stated("kind", "Pod or List")?;
    let version = stated("apiVersion", "v1")?;
    let kind_of = match kind.as_str() {
        "Pod" => Kind::Pod,
        "List" => Kind::List,
        "PodList" => Kind::PodList,
        _ => {
            let message = format!("{kind:?} cannot be run from a manifest: only Pod, and List of Pods, can");
            return Err(fault(&at.field("kind"), message));
        }
    };
    if version != "v1" {
        let message = format!("{version:?} has no {kind}: the version is v1");
        return Err(fault(&at.field("apiVersion"), message));
    }
    Ok(kind_of)
}

fn list(root: &Rc<Node>, kind_of_list: Kind) -> Result<Vec<Result<Item, Fault>>, Fault> {
    let top = FieldPath::default();
    if let Value::Mapping(entries) = &root.value {
        let known = ["apiVersion", "kind", "metadata", "items"];
        if let Some(entry) = entries.iter().find(|entry| !known.contains(&entry.key.as_str())) {
            return Err(fault(
                &top.field(entry.key.clone()),
                "is no field of a list: remove it",
            ));
        }
    }
    let at = top.field("items");
    let items = match root.get("items").map(|items| (items.is_null(), &items.value)) {
        None | Some((true, _)) => return Ok(Vec::new()),
        Some((_, Value::Sequence(items))) => items,
        Some(_) => return Err(fault(&at, "must be a list")),
    };
    let item = |(index, node): (usize, &Rc<Node>)| {
        let prefix = at.index(index);
        if !matches!(node.value, Value::Mapping(_)) {
            return Err(fault(
                &prefix,
                "is no object: every item has apiVersion, kind, metadata and spec",
            ));
        }
        // The items of a typed list need not say again what they are.
        let untyped = kind_of_list == Kind::PodList && node.get("kind").is_none();
        if !untyped && kind(node, &prefix)? != Kind::Pod {
            return Err(fault(
                &prefix.field("kind"),
                "is a list within a list: put its items into the outer one",
            ));
        }
        Ok(Item {
            node: node.clone(),
            prefix,
        })
    };
    Ok(items.iter().enumerate().map(item).collect())
}

fn fault(path: &FieldPath, message: impl Into<String>) -> Fault {
    Fault {
        path: path.clone(),
        line: None,
        message: message.into(),
    }
}
