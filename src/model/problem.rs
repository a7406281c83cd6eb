//! What is wrong with a manifest or an API object.

use std::fmt;
use std::path::PathBuf;

use super::pod_name::PodName;

/// The kind of a [`Problem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ProblemKind {
    /// Kubernetes rejects it, or it is not a manifest at all.
    #[default]
    Invalid,
    /// Kubernetes accepts it, but this version of gantry does not support it, or not in a static pod.
    Unsupported,
    /// It exceeds a size limit.
    Bound,
    /// It runs, but is probably not what was meant.
    Dubious,
    /// It has a field that this version of Kubernetes does not have, which is passed over.
    UnknownField,
}

impl ProblemKind {
    /// Whether it runs nevertheless.
    pub fn is_warning(self) -> bool {
        matches!(self, ProblemKind::Dubious | ProblemKind::UnknownField)
    }
}

/// A finding about a document of the manifests directory or an API object: why it is not run, or what is dubious about
/// it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, absolute.
    pub path: PathBuf,
    /// The document within the file, from 1; 0 if the problem is the file as a whole.
    pub document: usize,
    /// The line within the file, from 1, if known.
    pub line: Option<usize>,
    /// The field in Kubernetes notation (`spec.containers[0].ports[1].hostPort`); empty if no single field is at fault.
    pub field: String,
    /// What is wrong and how to fix it, without the above.
    pub message: String,
    /// The name of the pod, if it could be read.
    pub pod: Option<PodName>,
    /// What kind of finding it is.
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if self.document > 1 {
            write!(f, " (document {})", self.document)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}
