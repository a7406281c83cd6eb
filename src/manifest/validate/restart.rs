//! Validates a container's own restart policy and its rules (`validateContainerRestartPolicy` in
//! `pkg/apis/core/validation`).

use k8s_openapi::api::core::v1::{Container, ContainerRestartRule};

use crate::manifest::path::{Faults, FieldPath};

/// The most rules of one container.
const MOST_RULES: usize = 20;
/// The most exit codes of one rule.
const MOST_CODES: usize = 255;

/// Notes what is wrong with them.
pub(crate) fn container(container: &Container, at: &FieldPath, faults: &mut Faults) {
    let rules = container.restart_policy_rules.as_deref().unwrap_or(&[]);
    match container.restart_policy.as_deref() {
        Some(policy) => faults.one_of(
            &at.field("restartPolicy"),
            policy,
            &["Always", "OnFailure", "Never"],
        ),
        None if rules.is_empty() => {}
        None => faults.add(
            &at.field("restartPolicy"),
            "is missing: with restartPolicyRules it is needed for the exits that no rule matches (Always, \
             OnFailure, Never)",
        ),
    }
    let at = at.field("restartPolicyRules");
    if rules.len() > MOST_RULES {
        faults.add(
            &at,
            format!("has more than {MOST_RULES} rules: merge some of them"),
        );
    }
    for (index, rule) in rules.iter().enumerate() {
        self::rule(rule, &at.index(index), faults);
    }
}

fn rule(rule: &ContainerRestartRule, at: &FieldPath, faults: &mut Faults) {
    faults.one_of(
        &at.field("action"),
        &rule.action,
        &["Restart", "RestartAllContainers"],
    );
    let at = at.field("exitCodes");
    let Some(codes) = &rule.exit_codes else {
        faults.add(
            &at,
            "is missing: a rule matches exit codes ({operator: In, values: [42]})",
        );
        return;
    };
    faults.one_of(&at.field("operator"), &codes.operator, &["In", "NotIn"]);
    let values = codes.values.as_deref().unwrap_or(&[]);
    if values.len() > MOST_CODES {
        faults.add(
            &at.field("values"),
            format!("has more than {MOST_CODES} exit codes"),
        );
    }
}
