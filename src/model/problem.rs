//! What is wrong with what somebody wrote.

use std::fmt;
use std::path::PathBuf;

use super::pod_name::PodName;

/// What kind of finding a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ProblemKind {
    /// Kubernetes refuses it, or it is no manifest at all.
    #[default]
    Invalid,
    /// Kubernetes takes it; this version of gantry, or a static pod of it, does not have it.
    Unsupported,
    /// It is larger than what is read.
    Bound,
    /// It is run as it is, and is hardly what was meant.
    Dubious,
}

/// What was found in a document of the manifests directory, or in an object of the API: why it is not run, or what
/// is dubious in what is run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, absolute.
    pub path: PathBuf,
    /// The document within the file, from 1; 0 where the file as a whole is at fault.
    pub document: usize,
    /// The line within the file, from 1, where it is known.
    pub line: Option<usize>,
    /// The field in the notation of Kubernetes (`spec.containers[0].ports[1].hostPort`); empty where none is at fault.
    pub field: String,
    /// What is wrong and what would be right, without the above.
    pub message: String,
    /// The pod that it would have been, where the name could be read.
    pub pod: Option<PodName>,
    /// Whether it is a refusal, and of what kind.
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
