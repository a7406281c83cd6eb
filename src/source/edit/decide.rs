//! What a change of an object writes, and what is answered. Pure.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;

use super::fields::{self, Sent};
use super::manifests::{Found, Manifest, find};
use crate::manifest::{self, Content, ManifestContext, names, static_pod_name};
use crate::model::manifest_edit::{
    Edit, EditOptions, Edited, Hidden, ManifestKind, NotEdited, Patch, Preconditions, Target, Wrong,
};
use crate::model::pod::{PodName, Problem, ProblemKind};
use crate::model::yaml;
use crate::source::object;

/// The longest name of a file in Linux, without the dot and the ending of the unfinished one.
const MOST_NAME_BYTES: usize = 255 - 5;

/// What the decision is made from.
pub(super) struct Given<'a> {
    /// The manifests directory.
    pub(super) directory: Root<'a>,
    /// Its files, in the order of their names.
    pub(super) manifests: &'a [Manifest],
    pub(super) context: &'a ManifestContext,
    pub(super) now: Timestamp,
    pub(super) options: &'a EditOptions,
}

/// What the configured path is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Root<'a> {
    Directory(&'a Path),
    File,
}

/// What is to be done with files.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// A new file.
    Create(PathBuf, String),
    /// Another content of a file.
    Rewrite(PathBuf, String),
    Remove(PathBuf),
}

/// The decision.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) step: Step,
    pub(super) answer: Edited,
}

/// Decides about one change.
pub(super) fn decide(given: &Given<'_>, target: Target, edit: Edit) -> Result<Decision, NotEdited> {
    match edit {
        Edit::Create(Hidden(object)) => create(given, target, object),
        Edit::Remove(preconditions) => remove(given, &target, &preconditions),
        Edit::Replace(Hidden(object)) => {
            let found = found(given, &target)?;
            let version = given.current(&found, &target).1;
            stands(&target, object::metadata(&object, "resourceVersion"), &version)?;
            refuse_shown(&object)?;
            change(given, &target, &found, (object, Sent::Object))
        }
        Edit::Patch(patch) => {
            let found = found(given, &target)?;
            let (current, version) = given.current(&found, &target);
            let asked = asked_version(&patch).map(str::to_owned);
            stands(&target, asked.as_deref(), &version)?;
            let patched = manifest::edit::apply(current, patch);
            let patched = patched.map_err(|error| NotEdited::BadRequest(error.to_string()))?;
            change(given, &target, &found, (patched, Sent::Patch))
        }
    }
}

fn found<'a>(given: &Given<'a>, target: &Target) -> Result<Found<'a>, NotEdited> {
    find(given.manifests, target).ok_or_else(|| NotEdited::NotFound(target.clone()))
}

/// Whether the version that the client knows, if it states one, is the present one.
fn stands(target: &Target, asked: Option<&str>, version: &str) -> Result<(), NotEdited> {
    match asked {
        Some(asked) if asked != version => Err(NotEdited::Conflict(target.clone())),
        _ => Ok(()),
    }
}

fn asked_version(patch: &Patch) -> Option<&str> {
    match patch {
        Patch::Strategic(Hidden(patch)) | Patch::Merge(Hidden(patch)) => {
            object::metadata(patch, "resourceVersion")
        }
        Patch::Json(_) => None,
    }
}

/// Refuses what was read here and is not what a manifest has.
fn refuse_shown(object: &Value) -> Result<(), NotEdited> {
    if object::lacks_values(object) {
        let text = "this Secret was read here, without its values: change it with kubectl edit, patch or apply, which send \
                    what differs";
        return Err(NotEdited::Refused(text.to_owned()));
    }
    if object::is_running_pod(object) {
        let text = "this pod was made of a manifest, which kubectl shows under the pod's name without the node's: use that";
        return Err(NotEdited::Refused(text.to_owned()));
    }
    Ok(())
}

fn create(given: &Given<'_>, mut target: Target, object: Value) -> Result<Decision, NotEdited> {
    let name = object::metadata(&object, "name").unwrap_or_default().to_owned();
    target.name = name;
    is_what_it_says(&object, &target)?;
    check_names(&target)?;
    refuse_shown(&object)?;
    if let Some(found) = find(given.manifests, &target) {
        let file = found.manifest.path.display().to_string();
        return Err(NotEdited::Exists { target, file });
    }
    let Root::Directory(directory) = given.directory else {
        let text = "staticPodPath is a single file, so that nothing can be created beside it: edit the file, or configure a \
                    directory";
        return Err(NotEdited::Refused(text.to_owned()));
    };
    let path = directory.join(file_name(&target)?);
    let mut object = object::written(object, &target);
    let unknown = fields::take_unknown(&mut object, target.kind);
    let text = text(&object, &path)?;
    let answer = given.check(&target, (object, Sent::Object), (&path, &text), (unknown, &[]))?;
    Ok(Decision {
        step: Step::Create(path, text),
        answer,
    })
}

/// The name of a new file. Kind and namespace have no dots, so no two objects have the same one.
fn file_name(target: &Target) -> Result<String, NotEdited> {
    let kind = target.kind.as_str().to_lowercase();
    let name = format!("{kind}.{}.{}.yaml", target.namespace, target.name);
    if name.len() > MOST_NAME_BYTES {
        let text = format!(
            "namespace and name are too long for the name of a file: shorten them, or write a manifest with a name of your own ({} bytes, at most {MOST_NAME_BYTES})",
            name.len()
        );
        return Err(NotEdited::Refused(text));
    }
    Ok(name)
}

/// Whether the object is of the kind and in the namespace that the request is about.
fn is_what_it_says(object: &Value, target: &Target) -> Result<(), NotEdited> {
    let stated = |field: &str| object.get(field).and_then(Value::as_str);
    if stated("kind") != Some(target.kind.as_str()) || stated("apiVersion") != Some("v1") {
        let text = format!(
            "the object must have apiVersion v1 and kind {}",
            target.kind.as_str()
        );
        return Err(NotEdited::BadRequest(text));
    }
    let namespace = object::metadata(object, "namespace").unwrap_or(&target.namespace);
    if namespace != target.namespace {
        let text = format!(
            "the namespace of the provided object does not match the namespace sent on the request: {namespace:?} and {:?}",
            target.namespace
        );
        return Err(NotEdited::BadRequest(text));
    }
    let name = object::metadata(object, "name").unwrap_or_default();
    match name == target.name {
        true => Ok(()),
        false => Err(NotEdited::BadRequest(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        ))),
    }
}

/// Names become parts of a path.
fn check_names(target: &Target) -> Result<(), NotEdited> {
    let name = match target.name.is_empty() {
        true => Some("is missing: every object has a name".to_owned()),
        false => {
            let complaint = names::dns_subdomain(&target.name);
            complaint.map(|complaint| format!("{:?} {complaint}", target.name))
        }
    };
    let namespace = names::dns_label(&target.namespace);
    let namespace = namespace.map(|complaint| format!("{:?} {complaint}", target.namespace));
    let wrong = |(field, message): (&str, Option<String>)| {
        Some(Wrong {
            field: field.to_owned(),
            message: message?,
        })
    };
    let both = [("metadata.name", name), ("metadata.namespace", namespace)];
    let problems: Vec<Wrong> = both.into_iter().filter_map(wrong).collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(NotEdited::Invalid {
            target: target.clone(),
            problems,
        }),
    }
}

/// Gives the object that was found another content.
fn change(
    given: &Given<'_>,
    target: &Target,
    found: &Found<'_>,
    (object, sent): (Value, Sent),
) -> Result<Decision, NotEdited> {
    is_what_it_says(&object, target)?;
    let path = &found.manifest.path;
    let uid = object::metadata(found.object, "uid");
    let mut object = object::with_uid(object::written(object, target), uid);
    let unknown = fields::take_unknown(&mut object, target.kind);
    let before = object::with_uid(object::written(found.object.clone(), target), uid);
    if object == before {
        let mut answer = given.read(found, target);
        answer.warnings = fields::judge(given.options, unknown, (target, sent))?;
        return Ok(Decision {
            step: Step::Nothing,
            answer,
        });
    }
    writable(found, "changed")?;
    let text = text(&object, path)?;
    // What a person wrote into the file is not the client's doing.
    let known = fields::unknown(&given.content(&found.manifest.bytes, path).warnings);
    let answer = given.check(target, (object, sent), (path, &text), (unknown, &known))?;
    Ok(Decision {
        step: Step::Rewrite(path.clone(), text),
        answer,
    })
}

fn remove(given: &Given<'_>, target: &Target, preconditions: &Preconditions) -> Result<Decision, NotEdited> {
    let found = found(given, target)?;
    let mut answer = given.read(&found, target);
    let version = given.current(&found, target).1;
    stands(target, preconditions.version.as_deref(), &version)?;
    let uid = object::metadata(&answer.object, "uid").unwrap_or_default();
    stands(target, preconditions.uid.as_deref(), uid)?;
    writable(&found, "removed")?;
    answer.is_changed = true;
    Ok(Decision {
        step: Step::Remove(found.manifest.path.clone()),
        answer,
    })
}

/// Whether the file has nothing else, and is where it seems to be.
fn writable(found: &Found<'_>, doing: &str) -> Result<(), NotEdited> {
    let file = found.manifest.path.display();
    if !found.is_alone {
        return Err(NotEdited::Refused(format!(
            "{file} has other objects, too, so that it cannot be {doing} through kubectl: edit the file"
        )));
    }
    if found.manifest.is_link {
        return Err(NotEdited::Refused(format!(
            "{file} is a link, so that it cannot be {doing} through kubectl: edit the file that it leads to"
        )));
    }
    Ok(())
}

/// The text of a file: YAML, or JSON where the file's name says so.
fn text(object: &Value, path: &Path) -> Result<String, NotEdited> {
    let json = || format!("{object:#}\n");
    if path.extension().is_some_and(|extension| extension == "json") {
        return Ok(json());
    }
    let written = yaml::write::text(object);
    let text =
        written.map_err(|error| NotEdited::Failed(format!("cannot write the object as YAML: {error}")))?;
    let is_same = match yaml::document::read_one(&text) {
        Ok(read) => read.value == *object,
        Err(_) => false,
    };
    // JSON is YAML, too.
    Ok(if is_same { text } else { json() })
}

impl Given<'_> {
    /// The object as a client knows it, and its version.
    fn current(&self, found: &Found<'_>, target: &Target) -> (Value, String) {
        let written = object::written(found.object.clone(), target);
        let version = object::version(&written);
        (written, version)
    }

    /// The object as it is, for an answer.
    fn read(&self, found: &Found<'_>, target: &Target) -> Edited {
        let manifest = found.manifest;
        let content = self.content(&manifest.bytes, &manifest.path);
        let pod = pod(&content, &self.full_name(target));
        let (object, version) = self.current(found, target);
        let uid = pod.as_ref().map(|pod| pod.0.as_str());
        Edited {
            object: object::shown(object, target, &version, uid),
            pod,
            warnings: Vec::new(),
            is_changed: false,
        }
    }

    /// What the agent would have of a file.
    fn content(&self, bytes: &[u8], path: &Path) -> Content {
        manifest::read_with_content(bytes, path, self.context, self.now)
    }

    /// Checks what is to be written as the agent will, and says what it will have. `unknown` are fields that are not
    /// written, `known` those that the file had before.
    fn check(
        &self,
        target: &Target,
        (object, sent): (Value, Sent),
        (path, text): (&Path, &str),
        (mut unknown, known): (Vec<String>, &[String]),
    ) -> Result<Edited, NotEdited> {
        let content = self.content(text.as_bytes(), path);
        let wrong = |problem: &Problem| Wrong {
            field: problem.field.clone(),
            message: problem.message.clone(),
        };
        unknown.extend(fields::unknown(&content.warnings));
        unknown.retain(|field| !known.contains(field));
        let mut warnings = fields::judge(self.options, unknown, (target, sent))?;
        if !content.problems.is_empty() {
            return Err(NotEdited::Invalid {
                target: target.clone(),
                problems: content.problems.iter().map(wrong).collect(),
            });
        }
        let others = content
            .warnings
            .iter()
            .filter(|warning| warning.kind != ProblemKind::UnknownField);
        warnings.extend(others.map(|warning| wrong(warning).to_string()));
        let version = object::version(&object::written(object.clone(), target));
        let pod = pod(&content, &self.full_name(target));
        let made = content.pods.first().map(|read| &read.pod.object);
        let object = match made.map(|made| serde_json::to_value(&**made)) {
            Some(Ok(made)) => made,
            _ => object,
        };
        Ok(Edited {
            object: object::shown(object, target, &version, pod.as_ref().map(|pod| pod.0.as_str())),
            pod,
            warnings,
            is_changed: true,
        })
    }

    fn full_name(&self, target: &Target) -> Option<PodName> {
        let name = static_pod_name(Some(&target.namespace), &target.name, self.context);
        (target.kind == ManifestKind::Pod).then_some(name)
    }
}

/// The UID and the full name of the pod.
fn pod(content: &Content, name: &Option<PodName>) -> Option<(String, String)> {
    let name = name.as_ref()?;
    let read = content.pods.iter().find(|read| read.pod.name == *name)?;
    Some((read.pod.uid.0.clone(), name.name.clone()))
}
