//! What was looked at, and how it stands.

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Pods will run, but something may not work as expected.
    Warning,
    /// The agent or its pods will not work.
    Failure,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub subject: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// The command to run or the change to make; empty if the check passed.
    pub remedy: String,
}

pub(super) fn good(subject: &'static str, found: impl Into<String>) -> Check {
    Check {
        subject,
        verdict: Verdict::Good,
        found: found.into(),
        remedy: String::new(),
    }
}

pub(super) fn warning(subject: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check {
        subject,
        verdict: Verdict::Warning,
        found: found.into(),
        remedy: remedy.into(),
    }
}

pub(super) fn failure(subject: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check {
        subject,
        verdict: Verdict::Failure,
        found: found.into(),
        remedy: remedy.into(),
    }
}
