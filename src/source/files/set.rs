//! The set of pods and objects from all files of the manifests directory, and the problems of those that another file
//! already has. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::claims::{Claim, Verdict, What};
use super::known::Known;
use super::known::whole_file;
use super::writing::REPORTED_AFTER;
use crate::model::object::{self, Reference};
use crate::model::pod::{Pod, Problem, Source, SourceSet};
use crate::model::stated::AllStated;

/// The claims of all files, in the order of their paths.
pub(super) fn claims(files: &BTreeMap<PathBuf, Known>) -> Vec<Claim<'_>> {
    let mut claims = Vec::new();
    for (path, known) in files {
        claims.extend(known.objects.iter().map(|known_object| Claim {
            path,
            what: What::Object(&known_object.key),
            uid: None,
        }));
        claims.extend(known.pods.iter().map(|running| Claim {
            path,
            what: What::Pod(&running.pod.name),
            uid: Some(&running.pod.uid),
        }));
    }
    claims
}

/// The set, with the granted one of each contested thing. `verdicts` are those of [`claims`].
pub(super) fn assemble(
    files: &BTreeMap<PathBuf, Known>,
    claims: &[Claim<'_>],
    verdicts: &[Verdict],
) -> SourceSet {
    let mut set = SourceSet {
        stated: Arc::new(stated(files.values())),
        ..SourceSet::default()
    };
    let mut verdicts = verdicts.iter().copied();
    let mut next = || verdicts.next().unwrap_or(Verdict::Granted);
    for (path, known) in files {
        set.problems.extend(known.problems.iter().cloned());
        if known.open.is_some_and(|open| open.is_long) {
            set.problems.push(Problem {
                pod: known.pods.first().map(|running| running.pod.name.clone()),
                ..whole_file(path, still_open(path))
            });
        }
        set.warnings.extend(known.warnings.iter().cloned());
        for known_object in &known.objects {
            match next() {
                Verdict::Granted => {
                    let found = object::Known::Found(known_object.object.clone());
                    set.objects
                        .insert(Reference::Object(known_object.key.clone()), found);
                }
                Verdict::NameTaken(owner) | Verdict::UidTaken(owner) => set.problems.push(Problem {
                    document: known_object.document,
                    field: "metadata.name".to_owned(),
                    ..whole_file(path, name_taken(&claims[owner]))
                }),
            }
        }
        for running in &known.pods {
            let pod = &running.pod;
            match next() {
                Verdict::Granted => {
                    set.pods.insert(pod.name.clone(), pod.clone());
                }
                Verdict::NameTaken(owner) => {
                    let message = name_taken(&claims[owner]);
                    set.problems.push(of_pod(path, pod, "metadata.name", message));
                }
                Verdict::UidTaken(owner) => {
                    let message = uid_taken(&claims[owner]);
                    set.problems.push(of_pod(path, pod, "metadata.uid", message));
                }
            }
        }
    }
    set
}

/// What all files state: of objects that several have, what the first one does, which is the one that is changed.
fn stated<'a>(files: impl Iterator<Item = &'a Known>) -> AllStated {
    let mut all = AllStated::new();
    for known in files {
        for (target, stated) in &known.stated {
            let place = all.entry(target.clone());
            place.or_insert_with(|| Arc::clone(stated));
        }
    }
    all
}

/// The problem of a pod that claims what `owner` has, if it does.
pub(super) fn clash(path: &Path, pod: &Pod, owner: &Claim<'_>) -> Option<Problem> {
    if owner.what == What::Pod(&pod.name) {
        return Some(of_pod(path, pod, "metadata.name", name_taken(owner)));
    }
    let same_uid = owner.uid == Some(&pod.uid);
    same_uid.then(|| of_pod(path, pod, "metadata.uid", uid_taken(owner)))
}

fn of_pod(path: &Path, pod: &Pod, field: &str, message: String) -> Problem {
    let document = match pod.source {
        Source::File { document, .. } => document,
        Source::Api => 0,
    };
    Problem {
        document,
        field: field.to_owned(),
        pod: Some(pod.name.clone()),
        ..whole_file(path, message)
    }
}

fn still_open(path: &Path) -> String {
    format!(
        "has been open for writing for more than {} seconds and is not read until it is closed: stop the program \
         that has it open (`fuser -v {}` shows it), or write another file and rename it into place",
        REPORTED_AFTER.as_secs(),
        path.display()
    )
}

fn name_taken(owner: &Claim<'_>) -> String {
    format!(
        "{} already has a {}: names must differ; this one waits until that file is removed or no longer has it",
        owner.path.display(),
        owner.what
    )
}

fn uid_taken(owner: &Claim<'_>) -> String {
    format!(
        "{} already has a {} with this UID: UIDs must differ; this one waits until that file is removed or no \
         longer has it",
        owner.path.display(),
        owner.what
    )
}
