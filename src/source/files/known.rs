//! What is known of one file of the manifests directory: what follows from it, and what was found in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::file::Stamp;
use crate::manifest::{Content, seen_at};
use crate::manifest::{Json, ReadObject, ReadPod};
use crate::model::object::{Object, ObjectKey};
use crate::model::pod::{Pod, PodName, Problem, ProblemKind};

/// A pod with the object that makes it again.
#[derive(Debug, Clone)]
pub(super) struct Running {
    /// The pod.
    pub(super) pod: Arc<Pod>,
    json: Arc<str>,
}

/// An object with what makes it again.
#[derive(Debug, Clone)]
pub(super) struct KnownObject {
    /// What it is known by.
    pub(super) key: ObjectKey,
    /// The object.
    pub(super) object: Arc<Object>,
    /// Its document within the file, from 1.
    pub(super) document: usize,
    json: Json,
}

/// What is known of one file.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Which life its pods are in ([`Pod::incarnation`]).
    pub(super) incarnation: u64,
    /// By which paths the kernel tells of it: its entry's and its own, without links.
    pub(super) paths: [PathBuf; 2],
    /// It went, and what is there now was not read yet.
    pub(super) was_gone: bool,
    /// As it was when it was read.
    pub(super) stamp: Option<Stamp>,
    /// It is read again though it looks as it did.
    pub(super) again: bool,
    /// The pods that follow from it: those it has, and those of its last good version that it has broken.
    pub(super) pods: Vec<Running>,
    /// The same of its objects.
    pub(super) objects: Vec<KnownObject>,
    /// What is not taken of it.
    pub(super) problems: Vec<Problem>,
    /// What is dubious in what is taken of it.
    pub(super) warnings: Vec<Problem>,
    /// It went away then.
    pub(super) gone_since: Option<Timestamp>,
    /// Somebody writes it, or has it open for writing, so that it is not read.
    pub(super) open: Option<Open>,
}

/// Since when somebody has a file open for writing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    /// When that was seen first.
    pub(super) since: Timestamp,
    /// When the kernel last said that the file was closed, or it was seen first.
    pub(super) heard: Timestamp,
    /// Whether it is to be reported.
    pub(super) is_long: bool,
}

impl Known {
    /// What is known after the file was read: of `self`, what it was before, it keeps what is the same, and what it has
    /// broken.
    pub(super) fn after(self, path: &Path, content: Content) -> Known {
        let Content {
            pods: read,
            objects,
            mut problems,
            warnings,
        } = content;
        let before = self.pods;
        let objects = take_objects(path, objects, self.objects, &mut problems);
        let by_name: BTreeMap<&PodName, &Running> = before.iter().map(|old| (&old.pod.name, old)).collect();
        let incarnation = self.incarnation;
        let in_life = |mut read: ReadPod| {
            read.pod.incarnation = incarnation;
            same_or_new(by_name.get(&read.pod.name).copied(), read)
        };
        let mut pods: Vec<Running> = read.into_iter().map(in_life).collect();
        let redefined: BTreeSet<PodName> = pods.iter().map(|new| new.pod.name.clone()).collect();
        let nameless = problems.iter().any(|problem| problem.pod.is_none());
        let named: BTreeSet<&PodName> = problems
            .iter()
            .filter_map(|problem| problem.pod.as_ref())
            .collect();
        for old in &before {
            let broken = nameless || named.contains(&old.pod.name);
            if broken && !redefined.contains(&old.pod.name) {
                pods.push(old.clone());
            }
        }
        Known {
            incarnation,
            pods,
            objects,
            problems,
            warnings,
            ..Known::default()
        }
    }

    /// Whether nothing follows from it.
    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.objects.is_empty()
    }

    /// What a last good version says, in the first life of its pods here.
    pub(super) fn of_kept(content: Content, incarnation: u64) -> Known {
        let in_life = |mut read: ReadPod| {
            read.pod.incarnation = incarnation;
            same_or_new(None, read)
        };
        Known {
            incarnation,
            pods: content.pods.into_iter().map(in_life).collect(),
            objects: content.objects.into_iter().map(KnownObject::from).collect(),
            ..Known::default()
        }
    }

    /// The objects that make all of it again.
    pub(super) fn to_keep(&self) -> Vec<Json> {
        let of_pods = self.pods.iter().map(|running| Json(running.json.clone()));
        let of_objects = self.objects.iter().map(|known_object| known_object.json.clone());
        of_pods.chain(of_objects).collect()
    }
}

impl From<ReadObject> for KnownObject {
    fn from(read: ReadObject) -> KnownObject {
        KnownObject {
            key: read.key,
            object: Arc::new(read.object),
            document: read.document,
            json: read.json,
        }
    }
}

/// The objects of a file, each the one that is known already where it is the same. What a broken file had stays, and
/// what said of itself that it does not change.
fn take_objects(
    path: &Path,
    read: Vec<ReadObject>,
    before: Vec<KnownObject>,
    problems: &mut Vec<Problem>,
) -> Vec<KnownObject> {
    let broken = !problems.is_empty();
    let mut objects: Vec<KnownObject> = Vec::new();
    let by_key: BTreeMap<&ObjectKey, &KnownObject> = before.iter().map(|old| (&old.key, old)).collect();
    let redefined: BTreeSet<ObjectKey> = read.iter().map(|read| read.key.clone()).collect();
    for read in read {
        let old = by_key.get(&read.key).copied();
        let known_object = match old {
            Some(old) if *old.object == read.object => KnownObject {
                document: read.document,
                ..old.clone()
            },
            Some(old) if old.object.immutable => {
                problems.push(Problem {
                    document: read.document,
                    field: "immutable".to_owned(),
                    ..whole_file(
                        path,
                        format!(
                            "the {} that was here does not change: give the new one another name, or remove it first",
                            read.key
                        ),
                    )
                });
                old.clone()
            }
            _ => KnownObject::from(read),
        };
        objects.push(known_object);
    }
    for old in before {
        if broken && !redefined.contains(&old.key) {
            objects.push(old);
        }
    }
    objects
}

/// The pod that is known already where it is the same, so that nobody has to compare it again.
fn same_or_new(before: Option<&Running>, read: ReadPod) -> Running {
    let same = before.filter(|old| old.pod.uid == read.pod.uid);
    let json = Arc::from(read.json);
    let Some(old) = same else {
        return Running {
            pod: Arc::new(read.pod),
            json,
        };
    };
    let again = seen_at(&read.pod, old.pod.seen);
    let pod = if again == *old.pod {
        old.pod.clone()
    } else if *json == *old.json {
        // The same content at another place of the file.
        Arc::new(again)
    } else {
        Arc::new(read.pod)
    };
    Running { pod, json }
}

/// The problem of a file as a whole.
pub(super) fn whole_file(path: &Path, message: String) -> Problem {
    Problem {
        path: path.to_owned(),
        document: 0,
        line: None,
        field: String::new(),
        message,
        pod: None,
        kind: ProblemKind::Invalid,
    }
}
