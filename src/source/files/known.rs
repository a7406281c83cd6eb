//! The state of one file of the manifests directory: its pods, objects and problems, and what they were read from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::file::Stamp;
use crate::manifest::{Content, seen_at};
use crate::manifest::{Json, ReadObject, ReadPod};
use crate::model::object::{Object, ObjectKey};
use crate::model::pod::{Pod, PodName, Problem, ProblemKind};
use crate::model::stated::AllStated;

/// A pod with the manifest that reproduces it.
#[derive(Debug, Clone)]
pub(super) struct Running {
    /// The pod.
    pub(super) pod: Arc<Pod>,
    json: Arc<str>,
}

/// An object with the manifest that reproduces it.
#[derive(Debug, Clone)]
pub(super) struct KnownObject {
    /// Its kind, namespace and name.
    pub(super) key: ObjectKey,
    /// The object.
    pub(super) object: Arc<Object>,
    /// Its document within the file, from 1.
    pub(super) document: usize,
    json: Json,
}

/// The state of one file.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// The incarnation of its pods ([`Pod::incarnation`]).
    pub(super) incarnation: u64,
    /// The paths under which the kernel reports its events: that of its directory entry and its own, without links.
    pub(super) paths: [PathBuf; 2],
    /// It was removed, and its successor has not been read yet.
    pub(super) was_gone: bool,
    /// Its stamp when it was read.
    pub(super) stamp: Option<Stamp>,
    /// Read it again even if its stamp is unchanged.
    pub(super) again: bool,
    /// Its pods: those that it has, and those of its last good version that it has broken.
    pub(super) pods: Vec<Running>,
    /// Its objects, likewise.
    pub(super) objects: Vec<KnownObject>,
    /// What it states of its pods and objects, and of those that are in force although it states them no longer.
    pub(super) stated: AllStated,
    /// The reasons why parts of it are rejected.
    pub(super) problems: Vec<Problem>,
    /// The warnings about the accepted parts.
    pub(super) warnings: Vec<Problem>,
    /// When it was removed.
    pub(super) gone_since: Option<Timestamp>,
    /// A process writes it or has it open for writing, so it is not read.
    pub(super) open: Option<Open>,
}

/// What was read of a file besides its content.
pub(super) struct Reading<'a> {
    /// Its bytes; `None`: it cannot be read.
    pub(super) bytes: Option<&'a [u8]>,
    /// When it was modified, at the latest.
    pub(super) modified: Timestamp,
}

impl<'a> Reading<'a> {
    /// These bytes of a file that was modified then.
    pub(super) fn of(bytes: &'a [u8], modified: Timestamp) -> Reading<'a> {
        Reading {
            bytes: Some(bytes),
            modified,
        }
    }

    /// Nothing: what it would have is as old as now.
    pub(super) fn nothing(now: Timestamp) -> Reading<'a> {
        Reading {
            bytes: None,
            modified: now,
        }
    }
}

/// Since when a process has a file open for writing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    /// When it was first seen open.
    pub(super) since: Timestamp,
    /// When the kernel last reported that the file was closed, or when it was first seen open.
    pub(super) heard: Timestamp,
    /// Whether it is to be reported.
    pub(super) is_long: bool,
}

impl Known {
    /// The state after the file was read. It takes from `self`, the state before, what is unchanged and what the new
    /// content has broken.
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

    /// Whether it has no pods and no objects.
    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.objects.is_empty()
    }

    /// The state from a last good version, with its pods in the given incarnation.
    pub(super) fn of_last_good(content: Content, incarnation: u64) -> Known {
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

    /// The objects that reproduce all of it.
    pub(super) fn to_save(&self) -> Vec<Json> {
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

/// The objects of a file; an unchanged object keeps its old value. An object stays as it was if the file is broken or
/// the object is immutable.
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
            Some(old) if old.object.is_immutable() => {
                problems.push(Problem {
                    document: read.document,
                    field: "immutable".to_owned(),
                    ..whole_file(
                        path,
                        format!(
                            "the existing {} is immutable: give the new one another name, or remove it first",
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

/// The old pod where it is unchanged, so that no reader has to compare it again.
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
        // The same content in another document of the file.
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
