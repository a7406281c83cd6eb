//! The errors that steps return: a failure of the step, or a runtime that could not be asked, which counts as none.

use crate::cri::CriError;
use crate::model::step::StepError;

/// The error of a step that failed within the agent.
pub(super) fn failure(reason: &'static str, message: String) -> StepError {
    StepError {
        reason,
        message,
        unreachable: false,
    }
}

/// The error of a step that failed because of a runtime call.
pub(super) fn call_failure(reason: &'static str, message: String, error: &CriError) -> StepError {
    StepError {
        reason,
        message,
        unreachable: error.is_unreachable(),
    }
}

/// The error of a step that was abandoned because the agent is stopping; it does not count as a failure.
pub(super) fn abandoned(reason: &'static str) -> StepError {
    StepError {
        reason,
        message: "the agent is stopping".to_owned(),
        unreachable: true,
    }
}

/// Removing something that the runtime does not know counts as success.
pub(super) fn gone(result: Result<(), CriError>) -> Result<(), CriError> {
    match result {
        Err(error) if error.not_found() => Ok(()),
        result => result,
    }
}
