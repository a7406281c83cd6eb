//! The documents of a file: which of them are pods, objects or lists, and what is wrong where.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use jiff::Timestamp;

use super::context::ManifestContext;
use super::decode::object;
use super::path::{Fault, FieldPath};
use super::read::{ReadObject, ReadPod};
use super::static_pod;
use super::yaml::tree::{Node, Value};
use super::yaml::{self, text};
use crate::model::object::{ObjectKey, ObjectKind};
use crate::model::pod::{PodName, Problem, ProblemKind};

/// The most problems that are reported for one file, and the most warnings.
const MOST_PROBLEMS: usize = 100;

/// What is in a file.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// The pods.
    pub(crate) pods: Vec<ReadPod>,
    /// The ConfigMaps and Secrets.
    pub(crate) objects: Vec<ReadObject>,
    /// What is wrong.
    pub(crate) problems: Vec<Problem>,
    /// What is dubious in what is there.
    pub(crate) warnings: Vec<Problem>,
}

/// An object that is expected to be a pod, a ConfigMap or a Secret.
struct Item {
    what: What,
    node: Rc<Node>,
    /// The path of the object within its document; empty where it is the document.
    prefix: FieldPath,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Pod,
    Object(ObjectKind),
}

/// Reads what is in one file.
pub(crate) fn read(bytes: &[u8], path: &Path, context: &ManifestContext, now: Timestamp) -> Content {
    let mut file = File {
        path,
        context,
        content: Content::default(),
        objects: BTreeSet::new(),
        pods: BTreeMap::new(),
    };
    match text::read(bytes) {
        Err(fault) => file.problem(0, None, &FieldPath::default(), fault),
        Ok(text) => {
            for document in yaml::documents(text) {
                let (problems_before, warned) = (file.content.problems.len(), file.content.warnings.len());
                file.document(document, now);
                // In reading order.
                file.content.problems[problems_before..].sort_by_key(|problem| problem.line);
                file.content.warnings[warned..].sort_by_key(|problem| problem.line);
            }
        }
    }
    file.content
}

struct File<'a> {
    path: &'a Path,
    context: &'a ManifestContext,
    content: Content,
    /// The objects found so far in the file.
    objects: BTreeSet<ObjectKey>,
    /// The pods found so far, each with its document.
    pods: BTreeMap<PodName, usize>,
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
        let usable = faults.iter().all(|fault| fault.kind.is_warning());
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
            // A duplicate key, or a tag without meaning, may mean another object than was read.
            let faults = match item.what {
                What::Pod => {
                    let (read, faults) = static_pod::read(&item.node, self.path, number, self.context, now);
                    if let Some(read) = read.filter(|_| usable) {
                        self.add(read, number, &item);
                    }
                    faults
                }
                What::Object(kind) => {
                    let (read, faults) = object::read(&item.node, kind);
                    if let Some(read) = read.filter(|_| usable) {
                        self.add_object(read, number, &item);
                    }
                    faults
                }
            };
            for fault in faults {
                self.problem(number, Some(&item.node), &item.prefix, fault);
            }
        }
    }

    fn add_object(&mut self, read: ReadObject, number: usize, item: &Item) {
        if !self.objects.insert(read.key.clone()) {
            let fault = Fault {
                path: FieldPath::default().field("metadata").field("name"),
                line: None,
                message: format!("this file already has a {}: names must differ", read.key),
                kind: ProblemKind::Invalid,
            };
            return self.problem(number, Some(&item.node), &item.prefix, fault);
        }
        self.content.objects.push(ReadObject {
            document: number,
            ..read
        });
    }

    fn add(&mut self, read: ReadPod, number: usize, item: &Item) {
        let name = read.pod.name.clone();
        if let Some(document) = self.pods.get(&name).copied() {
            let fault = Fault {
                path: FieldPath::default().field("metadata").field("name"),
                line: None,
                message: format!(
                    "document {document} of this file already has a pod {}: names must differ",
                    read.pod.name
                ),
                kind: ProblemKind::Invalid,
            };
            return self.problem(number, Some(&item.node), &item.prefix, fault);
        }
        self.pods.insert(name, number);
        self.content.pods.push(read);
    }

    fn problem(&mut self, document: usize, node: Option<&Rc<Node>>, prefix: &FieldPath, fault: Fault) {
        let list = match fault.kind.is_warning() {
            true => &self.content.warnings,
            false => &self.content.problems,
        };
        if list.len() >= MOST_PROBLEMS {
            return;
        }
        let (prefix, own) = (prefix.to_string(), fault.path.to_string());
        let separator = if prefix.is_empty() || own.is_empty() || own.starts_with('[') {
            ""
        } else {
            "."
        };
        let problem = Problem {
            path: self.path.to_owned(),
            document,
            line: fault.line.or_else(|| node.map(|node| node.line_of(&fault.path))),
            field: format!("{prefix}{separator}{own}"),
            message: fault.message,
            pod: node.and_then(|node| self.name(node)),
            kind: fault.kind,
        };
        match problem.kind.is_warning() {
            true => self.content.warnings.push(problem),
            false => self.content.problems.push(problem),
        }
    }

    /// The name of the pod that the document would make.
    fn name(&self, node: &Node) -> Option<PodName> {
        if matches!(
            node.get("kind").and_then(|kind| kind.as_str()),
            Some("ConfigMap" | "Secret")
        ) {
            return None;
        }
        let metadata = node.get("metadata")?;
        let name = metadata.get("name")?.as_str().filter(|name| !name.is_empty())?;
        let namespace = metadata.get("namespace").and_then(|n| n.as_str());
        Some(static_pod::name(namespace, name, self.context))
    }
}

/// The objects in a document.
fn items(root: &Rc<Node>) -> Result<Vec<Result<Item, Fault>>, Fault> {
    let top = FieldPath::default();
    if !matches!(root.value, Value::Mapping(_)) {
        return Err(fault(
            &top,
            "is not an object: a manifest starts with apiVersion: v1 and kind: Pod",
        ));
    }
    match kind(root, &top)? {
        Kind::One(what) => Ok(vec![Ok(Item {
            what,
            node: root.clone(),
            prefix: top,
        })]),
        Kind::List => list(root, None),
        Kind::ListOf(what) => list(root, Some(what)),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    One(What),
    List,
    /// A typed list.
    ListOf(What),
}

/// The kind that the object states.
fn kind(node: &Node, at: &FieldPath) -> Result<Kind, Fault> {
    let stated =
        |field: &'static str, right: &str| match node.get(field).or_else(|| node.get_in_any_case(field)) {
            None => Err(fault(&at.field(field), format!("is missing: it must be {right}"))),
            Some(value) => match value.as_str() {
                Some(text) => Ok(text.to_owned()),
                None => Err(fault(&at.field(field), format!("must be text: {right}"))),
            },
        };
    let kind = stated("kind", "Pod, ConfigMap, Secret or List")?;
    let version = stated("apiVersion", "v1")?;
    let kind_of = match kind.as_str() {
        "Pod" => Kind::One(What::Pod),
        "ConfigMap" => Kind::One(What::Object(ObjectKind::ConfigMap)),
        "Secret" => Kind::One(What::Object(ObjectKind::Secret)),
        "List" => Kind::List,
        "PodList" => Kind::ListOf(What::Pod),
        "ConfigMapList" => Kind::ListOf(What::Object(ObjectKind::ConfigMap)),
        "SecretList" => Kind::ListOf(What::Object(ObjectKind::Secret)),
        _ => {
            let message =
                format!("{kind:?} cannot be run from a manifest: only Pod, ConfigMap, Secret and List can");
            return Err(fault(&at.field("kind"), message));
        }
    };
    if version != "v1" {
        let message = format!("{version:?} has no {kind}: use v1");
        return Err(fault(&at.field("apiVersion"), message));
    }
    Ok(kind_of)
}

fn list(root: &Rc<Node>, typed: Option<What>) -> Result<Vec<Result<Item, Fault>>, Fault> {
    let top = FieldPath::default();
    if let Value::Mapping(entries) = &root.value {
        let known = ["apiVersion", "kind", "metadata", "items"];
        if let Some(entry) = entries.iter().find(|entry| !known.contains(&entry.key.as_str())) {
            return Err(fault(
                &top.field(entry.key.clone()),
                "is not a field of a list: remove it",
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
                "is not an object: every item has apiVersion, kind, metadata and spec",
            ));
        }
        // The items of a typed list may omit kind and apiVersion.
        let what = match typed.filter(|_| node.get("kind").is_none()) {
            Some(what) => what,
            None => match kind(node, &prefix)? {
                Kind::One(what) => what,
                Kind::List | Kind::ListOf(_) => {
                    return Err(fault(
                        &prefix.field("kind"),
                        "is a list within a list: move its items to the outer list",
                    ));
                }
            },
        };
        Ok(Item {
            what,
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
        kind: ProblemKind::Invalid,
    }
}
