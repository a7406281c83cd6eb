//! `shutdownGracePeriod` and its kin: how much time pods get before the machine goes down. Pure.

use std::time::Duration;

use super::checks::Checks;
use super::gates;
use super::raw::KubeletConfiguration;
use super::surroundings::span;
use crate::model::duration::Span;
use crate::model::shutdown::{ShutdownGroup, ShutdownPeriods};

/// The priority of pods without a class, and the lowest one of critical pods (`pkg/apis/scheduling/types.go`).
const DEFAULT_PRIORITY: i32 = 0;
const SYSTEM_CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// The periods that are in force. Those by priority take the place of the two others, which stand for two groups
/// (`migrateConfig` in `pkg/kubelet/nodeshutdown/nodeshutdown_manager.go`).
pub(super) fn shutdown(written: &KubeletConfiguration) -> ShutdownPeriods {
    let by_priority = written.shutdown_grace_period_by_pod_priority.iter().flatten();
    let groups: Vec<_> = by_priority
        .map(|group| ShutdownGroup {
            priority: group.priority.unwrap_or(DEFAULT_PRIORITY),
            period: Duration::from_secs(
                group
                    .shutdown_grace_period_seconds
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .unwrap_or(0),
            ),
        })
        .collect();
    if !groups.is_empty() {
        return ShutdownPeriods::new(groups);
    }
    let all = span(written.shutdown_grace_period);
    let critical = span(written.shutdown_grace_period_critical_pods);
    if all.is_zero() {
        return ShutdownPeriods::default();
    }
    // As in the kubelet, whose groups have whole seconds.
    let whole = |period: Duration| Duration::from_secs(period.as_secs());
    ShutdownPeriods::new([
        ShutdownGroup {
            priority: DEFAULT_PRIORITY,
            period: whole(all.saturating_sub(critical)),
        },
        ShutdownGroup {
            priority: SYSTEM_CRITICAL_PRIORITY,
            period: whole(critical),
        },
    ])
}

/// The kubelet's rules (`ValidateKubeletConfiguration` in `pkg/kubelet/apis/config/validation`).
pub(super) fn check(config: &KubeletConfiguration, checks: &mut Checks<'_>) {
    let second = Span::seconds(1);
    let [all, critical] = [
        ("shutdownGracePeriod", config.shutdown_grace_period),
        (
            "shutdownGracePeriodCriticalPods",
            config.shutdown_grace_period_critical_pods,
        ),
    ]
    .map(|(key, value)| {
        let value = value.unwrap_or_default();
        if value < second && value != Span(0) {
            checks.wrong(key, format!("{value} must be 0s or at least 1s"));
        }
        value
    });
    if critical > all {
        checks.wrong(
            "shutdownGracePeriodCriticalPods",
            "must not be longer than shutdownGracePeriod",
        );
    }
    let by_priority = config.shutdown_grace_period_by_pod_priority.as_deref();
    let groups = by_priority.unwrap_or_default();
    if !groups.is_empty() && (all > Span(0) || critical > Span(0)) {
        checks.wrong(
            "shutdownGracePeriodByPodPriority",
            "cannot be combined with shutdownGracePeriod; keep one",
        );
    }
    // The kubelet starts with such a group, and its wait for these pods then ends before it begins.
    let is_negative = |seconds: Option<i64>| seconds.is_some_and(|seconds| seconds < 0);
    if groups
        .iter()
        .any(|group| is_negative(group.shutdown_grace_period_seconds))
    {
        checks.wrong(
            "shutdownGracePeriodByPodPriority",
            "shutdownGracePeriodSeconds must not be negative",
        );
    }
    gates_are_on(
        config,
        all > Span(0) || critical > Span(0),
        !groups.is_empty(),
        checks,
    );
}

fn gates_are_on(
    config: &KubeletConfiguration,
    has_periods: bool,
    has_priorities: bool,
    checks: &mut Checks<'_>,
) {
    for (gate, key, is_used) in [
        (gates::SHUTDOWN, "shutdownGracePeriod", has_periods),
        (
            gates::SHUTDOWN_BY_PRIORITY,
            "shutdownGracePeriodByPodPriority",
            has_priorities,
        ),
    ] {
        if is_used && !gates::is_on_unless_disabled(config, gate) {
            checks.wrong(
                key,
                format!("needs the feature gate {gate}, which is set to false"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn groups(config: Value) -> Vec<(i32, u64)> {
        let config: KubeletConfiguration = serde_json::from_value(config).unwrap();
        let periods = shutdown(&config);
        let groups = periods.groups().iter();
        groups
            .map(|group| (group.priority, group.period.as_secs()))
            .collect()
    }

    #[test]
    fn the_two_periods_stand_for_normal_and_critical_pods() {
        assert_eq!(groups(json!({})), []);
        let zero = json!({"shutdownGracePeriod": "0s", "shutdownGracePeriodCriticalPods": "0s"});
        assert_eq!(groups(zero), []);
        let both = json!({"shutdownGracePeriod": "30s", "shutdownGracePeriodCriticalPods": "10s"});
        assert_eq!(groups(both), [(0, 20), (2_000_000_000, 10)]);
        let one = json!({"shutdownGracePeriod": "90s"});
        assert_eq!(groups(one), [(0, 90), (2_000_000_000, 0)]);
    }

    #[test]
    fn periods_by_priority_are_sorted() {
        let two = json!({"shutdownGracePeriodByPodPriority": [
            {"priority": 1000, "shutdownGracePeriodSeconds": 5}, {"shutdownGracePeriodSeconds": 7},
        ]});
        assert_eq!(groups(two), [(0, 7), (1000, 5)]);
    }
}
