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

/// A rule of `restartPolicyRules`: what follows the end of a container with certain exit codes, regardless of its
/// policy. The first rule that matches counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartRule {
    /// The exit codes that it matches.
    pub codes: ExitCodes,
    /// What follows.
    pub action: RestartAction,
}

/// `exitCodes` of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitCodes {
    /// These.
    In(Vec<i32>),
    /// All others.
    NotIn(Vec<i32>),
}

/// `action` of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartAction {
    /// The container is restarted.
    Restart,
    /// All containers of the pod are restarted, in its sandbox (KEP-5532).
    RestartAllContainers,
    /// The container's policy decides, as if no rule matched: the node does not have the action.
    ByPolicy,
}

impl ExitCodes {
    fn contain(&self, code: i32) -> bool {
        match self {
            ExitCodes::In(codes) => codes.contains(&code),
            ExitCodes::NotIn(codes) => !codes.contains(&code),
        }
    }
}

/// The action of the first rule that matches an exit code (`FindMatchingContainerRestartRule`).
pub(super) fn action_after(rules: &[RestartRule], code: i32) -> RestartAction {
    let rule = rules.iter().find(|rule| rule.codes.contain(code));
    rule.map_or(RestartAction::ByPolicy, |rule| rule.action)
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
    use ExitCodes::{In, NotIn};
    use RestartAction::{ByPolicy, Restart, RestartAllContainers};
    use RestartPolicy::{Always, Never, OnFailure};

    /// The codes of 0, 1 and 42 after which it is started again.
    fn check(restart: RestartPolicy, rules: &[(ExitCodes, RestartAction)], expected: &[i32]) {
        let container = container(restart, rules);
        let codes = [0, 1, 42];
        let restarted: Vec<_> = codes
            .into_iter()
            .filter(|code| container.restarts_after(*code))
            .collect();
        assert_eq!(restarted, expected, "{restart:?} {rules:?}");
    }

    fn container(restart: RestartPolicy, rules: &[(ExitCodes, RestartAction)]) -> Container {
        let rules = rules.iter().cloned();
        Container {
            restart,
            restart_rules: rules
                .map(|(codes, action)| RestartRule { codes, action })
                .collect(),
            ..sample::container("c")
        }
    }

    #[test]
    fn a_rule_comes_before_the_policy_and_the_policy_is_for_the_rest() {
        check(Always, &[], &[0, 1, 42]);
        check(OnFailure, &[], &[1, 42]);
        check(Never, &[], &[]);
        check(Never, &[(In(vec![42]), Restart)], &[42]);
        check(Never, &[(NotIn(vec![42]), Restart)], &[0, 1]);
        check(OnFailure, &[(In(vec![0]), Restart)], &[0, 1, 42]);
        let both = [(In(vec![0]), Restart), (In(vec![42]), RestartAllContainers)];
        check(Never, &both, &[0, 42]);
        // No code is in nothing, and every code is not in it.
        check(Never, &[(In(vec![]), Restart)], &[]);
        check(Never, &[(NotIn(vec![]), Restart)], &[0, 1, 42]);
    }

    #[test]
    fn the_first_rule_that_matches_counts_and_an_unknown_action_leaves_it_to_the_policy() {
        let all = |rules: &[(ExitCodes, RestartAction)]| -> Vec<i32> {
            let container = container(Never, rules);
            let codes = [0, 1, 42].into_iter();
            codes.filter(|code| container.restarts_all_after(*code)).collect()
        };
        let rules = [(In(vec![1]), Restart), (NotIn(vec![0]), RestartAllContainers)];
        assert_eq!(all(&rules), [42]);
        let rules = [(In(vec![1]), ByPolicy), (NotIn(vec![0]), RestartAllContainers)];
        assert_eq!(all(&rules), [42]);
        check(Never, &rules, &[42]);
        check(OnFailure, &rules, &[1, 42]);
    }
}
