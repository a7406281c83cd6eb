//! A rejected or questionable manifest in the format between agent and command line.

use serde::{Deserialize, Serialize};

use crate::model::pod::Problem;

/// The response of `/problems` and `/warnings`. Not one of Kubernetes' kinds, so in gantry's own API group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProblemList {
    /// `gantry.dev/v1alpha1`
    pub api_version: String,
    /// `ProblemList` or `WarningList`
    pub kind: String,
    /// The problems, by file.
    pub items: Vec<ReportedProblem>,
}

/// An error or a warning about one file or document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedProblem {
    /// The file.
    pub file: String,
    /// The document within the file, from 1; 0 means the file as a whole.
    pub document: usize,
    /// The line, counted from 1, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The field, in Kubernetes' notation; empty if no single field is at fault.
    pub field: String,
    /// The problem, without the location.
    pub message: String,
    /// The namespace of the pod that the document defines, or would define.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name of that pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// All of it in one line.
    pub text: String,
}

impl From<&Problem> for ReportedProblem {
    fn from(problem: &Problem) -> Self {
        ReportedProblem {
            file: problem.path.display().to_string(),
            document: problem.document,
            line: problem.line,
            field: problem.field.clone(),
            message: problem.message.clone(),
            namespace: problem.pod.as_ref().map(|pod| pod.namespace.clone()),
            pod: problem.pod.as_ref().map(|pod| pod.name.clone()),
            text: problem.to_string(),
        }
    }
}

impl ProblemList {
    /// The list of rejected documents.
    pub fn of(problems: &[Problem]) -> Self {
        Self::named("ProblemList", problems)
    }

    /// The list of warnings about documents in use.
    pub fn warnings(warnings: &[Problem]) -> Self {
        Self::named("WarningList", warnings)
    }

    fn named(kind: &str, problems: &[Problem]) -> Self {
        ProblemList {
            api_version: "gantry.dev/v1alpha1".to_owned(),
            kind: kind.to_owned(),
            items: problems.iter().map(ReportedProblem::from).collect(),
        }
    }
}
