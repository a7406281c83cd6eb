//! A refused or a dubious manifest as it travels from the agent to the command line.

use serde::{Deserialize, Serialize};

use crate::model::pod::Problem;

/// What `/problems` and `/warnings` answer. Not one of Kubernetes' kinds, so under our own group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProblemList {
    /// `gantry.dev/v1alpha1`
    pub api_version: String,
    /// `ProblemList` or `WarningList`
    pub kind: String,
    /// The problems, by file.
    pub items: Vec<ToldProblem>,
}

/// What is wrong or dubious in one file or document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToldProblem {
    /// The file.
    pub file: String,
    /// The document within it, from 1; 0: the file as a whole.
    pub document: usize,
    /// The line, from 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The field, in Kubernetes' notation; empty where none is at fault.
    pub field: String,
    /// What is wrong, without the above.
    pub message: String,
    /// The namespace of the pod that it is or would have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name of the pod that it is or would have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// All of it in one line.
    pub text: String,
}

impl From<&Problem> for ToldProblem {
    fn from(problem: &Problem) -> Self {
        ToldProblem {
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
    /// The list of these.
    pub fn of(problems: &[Problem]) -> Self {
        Self::named("ProblemList", problems)
    }

    /// The list of what is dubious in what is run.
    pub fn warnings(warnings: &[Problem]) -> Self {
        Self::named("WarningList", warnings)
    }

    fn named(kind: &str, problems: &[Problem]) -> Self {
        ProblemList {
            api_version: "gantry.dev/v1alpha1".to_owned(),
            kind: kind.to_owned(),
            items: problems.iter().map(ToldProblem::from).collect(),
        }
    }
}
