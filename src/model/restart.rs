//! Whether an ended container is restarted, by its exit code: the pod's policy, its own policy, and the rules that
//! override both (`ContainerShouldRestart` in `pkg/api/v1/pod/util.go`).

/// `spec.restartPolicy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// Whenever it ends.
    #[default]
    Always,
    /// When it exits with a code other than 0.
    OnFailure,
    /// Never.
    Never,
}

/// A rule of `restartPolicyRules`: exit codes after which a container is restarted regardless of its policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestartRule {
    /// These exit codes.
    In(Vec<i32>),
    /// All other exit codes.
    NotIn(Vec<i32>),
}

impl RestartRule {
    pub(super) fn applies(&self, code: i32) -> bool {
        match self {
            RestartRule::In(codes) => codes.contains(&code),
            RestartRule::NotIn(codes) => !codes.contains(&code),
        }
    }
}

impl RestartPolicy {
    /// Whether a container that ended with this exit code is restarted.
    pub fn restarts_after(self, code: i32) -> bool {
        match self {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => code != 0,
            RestartPolicy::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::container::Container;
    use crate::model::sample;
    use RestartPolicy::{Always, Never, OnFailure};

    /// The codes of 0, 1 and 42 after which it is started again.
    fn check(restart: RestartPolicy, rules: &[RestartRule], expected: &[i32]) {
        let container = Container {
            restart,
            restart_rules: rules.to_vec(),
            ..sample::container("c")
        };
        let codes = [0, 1, 42];
        let restarted: Vec<_> = codes
            .into_iter()
            .filter(|code| container.restarts_after(*code))
            .collect();
        assert_eq!(restarted, expected, "{restart:?} {rules:?}");
    }

    #[test]
    fn a_rule_comes_before_the_policy_and_the_policy_is_for_the_rest() {
        check(Always, &[], &[0, 1, 42]);
        check(OnFailure, &[], &[1, 42]);
        check(Never, &[], &[]);
        check(Never, &[RestartRule::In(vec![42])], &[42]);
        check(Never, &[RestartRule::NotIn(vec![42])], &[0, 1]);
        check(OnFailure, &[RestartRule::In(vec![0])], &[0, 1, 42]);
        let both = [RestartRule::In(vec![0]), RestartRule::In(vec![42])];
        check(Never, &both, &[0, 42]);
        // No code is in nothing, and every code is not in it.
        check(Never, &[RestartRule::In(vec![])], &[]);
        check(Never, &[RestartRule::NotIn(vec![])], &[0, 1, 42]);
    }
}
