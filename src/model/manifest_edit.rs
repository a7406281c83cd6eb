//! Requests to change what lies in the manifests directory, from those who ask (`kubectl apply`) to the task that writes
//! there. Nothing here prints an object's content.

use std::fmt;

use serde_json::Value;
use tokio::sync::mpsc;

use super::asking::{Answer, Asker, Stopping, asker};
use super::object::{ObjectKey, ObjectKind};

/// The kinds of objects that manifests have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ManifestKind {
    /// `Pod`
    Pod,
    /// `ConfigMap`
    ConfigMap,
    /// `Secret`
    Secret,
}

impl ManifestKind {
    /// The name as it stands in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            ManifestKind::Pod => "Pod",
            ManifestKind::ConfigMap => "ConfigMap",
            ManifestKind::Secret => "Secret",
        }
    }

    /// The plural in paths and in the API server's sentences.
    pub fn plural(self) -> &'static str {
        match self {
            ManifestKind::Pod => "pods",
            ManifestKind::ConfigMap => "configmaps",
            ManifestKind::Secret => "secrets",
        }
    }
}

/// Which object; a pod by the name that its manifest states, without the node's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its kind.
    pub kind: ManifestKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl From<&ObjectKey> for Target {
    fn from(key: &ObjectKey) -> Target {
        Target {
            kind: match key.kind {
                ObjectKind::ConfigMap => ManifestKind::ConfigMap,
                ObjectKind::Secret => ManifestKind::Secret,
            },
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        }
    }
}

/// JSON that may have a secret in it, so that it is never printed.
#[derive(Clone, PartialEq)]
pub struct Hidden(pub Value);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<object>")
    }
}

/// A change of an object (`k8s.io/apimachinery/pkg/types/patch.go`).
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// `application/strategic-merge-patch+json`
    Strategic(Hidden),
    /// `application/merge-patch+json` (RFC 7386)
    Merge(Hidden),
    /// `application/json-patch+json` (RFC 6902)
    Json(Hidden),
}

/// The state that an object must be in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preconditions {
    /// Its UID.
    pub uid: Option<String>,
    /// Its version.
    pub version: Option<String>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// The object is new.
    Create(Hidden),
    /// The object becomes this one.
    Replace(Hidden),
    /// The object changes.
    Patch(Patch),
    /// The object goes.
    Remove(Preconditions),
}

/// Whether anything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    Write,
    /// Everything is checked, and nothing written (`dryRun=All`).
    DryRun,
}

/// What becomes of fields that are unknown, or there twice (`fieldValidation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    /// Nothing is said about them.
    Ignore,
    /// They are warned about. The default.
    Warn,
    /// The object is refused.
    Strict,
}

/// How a request is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditOptions {
    /// Whether anything is written.
    pub mode: Mode,
    /// What becomes of fields that are unknown, or there twice.
    pub fields: FieldValidation,
    /// The paths of the fields that were there twice in what was sent.
    pub duplicates: Vec<String>,
}

impl From<Mode> for EditOptions {
    fn from(mode: Mode) -> EditOptions {
        EditOptions {
            mode,
            fields: FieldValidation::Warn,
            duplicates: Vec::new(),
        }
    }
}

/// An object after its change.
#[derive(Debug, Clone, PartialEq)]
pub struct Edited {
    /// The object as it may be shown: a Secret without its values. A pod that was changed is as the agent runs it; one that
    /// was not is as its manifest states it.
    pub object: Value,
    /// A pod's UID and its full name, with the node's.
    pub pod: Option<(String, String)>,
    /// What is dubious about it, one sentence each.
    pub warnings: Vec<String>,
    /// Whether a file was written or removed.
    pub is_changed: bool,
}

/// What is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The field; empty if no single one is at fault.
    pub field: String,
    /// What is wrong, and how to correct it.
    pub message: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{}: {}", self.field, self.message),
        }
    }
}

fn list(problems: &[Wrong]) -> String {
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    problems.join("; ")
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotEdited {
    /// There is no such object in the manifests directory.
    #[error("{} \"{}\" not found", .0.kind.plural(), .0.name)]
    NotFound(Target),
    /// The object is there already.
    #[error("{} \"{}\" already exists: {file} has it", target.kind.plural(), target.name)]
    Exists {
        /// The object.
        target: Target,
        /// The file.
        file: String,
    },
    /// The object has changed since the client read it.
    #[error(
        "Operation cannot be fulfilled on {} \"{}\": the object has been modified; please apply your changes to the latest version and try again",
        .0.kind.plural(), .0.name
    )]
    Conflict(Target),
    /// The request itself is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// It would be no manifest that this node runs.
    #[error("{} \"{}\" is invalid: {}", target.kind.as_str(), target.name, list(problems))]
    Invalid {
        /// The object.
        target: Target,
        /// What is wrong.
        problems: Vec<Wrong>,
    },
    /// It is not done here.
    #[error("{0}")]
    Refused(String),
    /// The file cannot be written or read.
    #[error("{0}")]
    Failed(String),
    /// The agent is stopping.
    #[error("gantry is stopping")]
    Stopping,
}

impl From<Stopping> for NotEdited {
    fn from(_: Stopping) -> NotEdited {
        NotEdited::Stopping
    }
}

/// A request.
#[derive(Debug)]
pub struct EditRequest {
    /// Which object; a new one's name may be empty, since the object states it.
    pub target: Target,
    /// What is to be done.
    pub edit: Edit,
    /// How it is carried out.
    pub options: EditOptions,
    /// Where the answer goes.
    pub answer: Answer<Edited, NotEdited>,
}

/// Changes the manifests directory.
#[derive(Debug, Clone)]
pub struct Editor(Asker<EditRequest>);

impl Editor {
    /// Changes an object of the manifests directory. All of them are done one after the other. The caller
    /// decides how long it waits: a file system that does not answer is waited for.
    pub async fn edit(&self, target: Target, edit: Edit, options: EditOptions) -> Result<Edited, NotEdited> {
        let request = |answer| EditRequest {
            target,
            edit,
            options,
            answer,
        };
        self.0.ask(request).await
    }
}

/// The requests, for the one who writes.
#[derive(Debug)]
pub struct EditRequests(pub mpsc::Receiver<EditRequest>);

/// The two ends.
pub fn editor() -> (Editor, EditRequests) {
    let (asker, requests) = asker();
    (Editor(asker), EditRequests(requests))
}
