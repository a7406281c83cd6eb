//! The errors that steps return: a failure of the step, or a runtime that could not be asked, which counts as none.

use crate::cri::CriError;
use crate::model::outcome::{Failure, StepError};

/// The error of a step that failed within the agent.
pub(super) fn failure(reason: &'static str, message: String) -> StepError {
    StepError {
        reason,
        message,
        failure: Failure::Failed,
    }
}

/// The error of a step that failed because of a runtime call.
pub(super) fn call_failure(reason: &'static str, message: String, error: &CriError) -> StepError {
    StepError {
        reason,
        message,
        failure: failure_of(error.is_unreachable()),
    }
}

/// The failure of a step whose runtime call failed.
pub(super) fn failure_of(is_unreachable: bool) -> Failure {
    match is_unreachable {
        true => Failure::Unreachable,
        false => Failure::Failed,
    }
}

/// The error of a step that was abandoned because the agent is stopping; it does not count as a failure.
pub(super) fn abandoned(reason: &'static str) -> StepError {
    StepError {
        reason,
        message: "the agent is stopping".to_owned(),
        failure: Failure::Abandoned,
    }
}

/// The errors of several undertakings as one, for people. Each was tried, whatever became of the others.
pub(super) fn all_done(results: impl IntoIterator<Item = Result<(), String>>) -> Result<(), String> {
    let failed: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("; ")),
    }
}

/// Removing something that the runtime does not know counts as success.
pub(super) fn gone(result: Result<(), CriError>) -> Result<(), CriError> {
    match result {
        Err(error) if error.not_found() => Ok(()),
        result => result,
    }
}
