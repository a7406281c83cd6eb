//! Graceful node shutdown: how much time pods get before the machine goes down, and how far their end has come. Pure.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The time of the pods from a priority on (`ShutdownGracePeriodByPodPriority` in `pkg/kubelet/apis/config/types.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShutdownGroup {
    /// The lowest priority of the group's pods.
    pub priority: i32,
    /// How long the shutdown waits for them, which is also the longest grace period that one of them gets.
    pub period: Duration,
}

/// The groups in the order in which their pods end. Without a group, a shutdown of the machine does not wait for pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShutdownPeriods(Vec<ShutdownGroup>);

impl ShutdownPeriods {
    /// From groups in any order; those of the lowest priority end first (`newPodManager` in
    /// `pkg/kubelet/nodeshutdown/nodeshutdown_manager.go`).
    pub fn new(groups: impl IntoIterator<Item = ShutdownGroup>) -> ShutdownPeriods {
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|group| group.priority);
        ShutdownPeriods(groups)
    }

    /// The groups, those that end first in front.
    pub fn groups(&self) -> &[ShutdownGroup] {
        &self.0
    }

    /// Whether a shutdown of the machine waits for pods.
    pub fn are_set(&self) -> bool {
        !self.0.is_empty()
    }

    /// The longest that a shutdown waits for pods (`periodRequested` there).
    pub fn total(&self) -> Duration {
        let periods = self.0.iter().map(|group| group.period);
        periods.fold(Duration::ZERO, Duration::saturating_add)
    }

    /// The group of a priority: the last one that begins at or below it. What is below all groups is in the first one
    /// (`groupByPriority` there).
    pub fn group_of(&self, priority: i32) -> usize {
        let from = self.0.partition_point(|group| group.priority < priority);
        match self.0.get(from) {
            Some(group) if group.priority == priority => from,
            _ => from.saturating_sub(1),
        }
    }
}

/// How far the end of the node's pods has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownProgress {
    /// The moment from which on the machine is shutting down.
    pub since: Timestamp,
    /// How many pods have to end.
    pub pods: usize,
    /// How many of them have ended.
    pub ended: usize,
    /// What it waits for.
    pub stage: ShutdownStage,
}

/// What a shutdown waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownStage {
    /// The pods of a group.
    Group {
        /// The lowest priority of the group.
        priority: i32,
        /// When its time is over.
        until: Timestamp,
    },
    /// Nothing any more: the machine may go down.
    Over,
}

impl ShutdownProgress {
    /// Whether the machine need not wait any longer.
    pub fn is_over(&self) -> bool {
        self.stage == ShutdownStage::Over
    }

    /// As text for people, at this moment.
    pub fn at(&self, now: Timestamp) -> impl fmt::Display {
        let ShutdownProgress { pods, ended, .. } = self;
        let have = if *pods == 1 { "pod has" } else { "pods have" };
        match self.stage {
            ShutdownStage::Group { priority, until } => {
                let left = until.duration_since(now).max(SignedDuration::ZERO);
                let seconds = left.as_secs() + i64::from(left.subsec_nanos() > 0);
                format!(
                    "Shutting down: {ended} of {pods} {have} ended, {seconds} s left (priority {priority})"
                )
            }
            ShutdownStage::Over => format!("Shutting down: {ended} of {pods} {have} ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::at;

    fn periods(groups: &[(i32, u64)]) -> ShutdownPeriods {
        ShutdownPeriods::new(groups.iter().map(|&(priority, seconds)| ShutdownGroup {
            priority,
            period: Duration::from_secs(seconds),
        }))
    }

    #[test]
    fn a_pod_is_in_the_last_group_that_begins_at_or_below_its_priority() {
        // The groups of the kubelet's documentation.
        let four = periods(&[(100_000, 10), (10_000, 180), (1000, 120), (0, 60)]);
        for (priority, group) in [
            (i32::MIN, 0),
            (-1, 0),
            (0, 0),
            (999, 0),
            (1000, 1),
            (9999, 1),
            (10_000, 2),
            (100_000, 3),
            (i32::MAX, 3),
        ] {
            assert_eq!(four.group_of(priority), group, "{priority}");
        }
        assert_eq!(four.total(), Duration::from_secs(370));
        let twice = periods(&[(0, 1), (0, 2), (5, 3)]);
        assert_eq!(
            (twice.group_of(0), twice.group_of(4), twice.group_of(5)),
            (0, 1, 2)
        );
        assert!(!ShutdownPeriods::default().are_set());
    }

    #[test]
    fn progress_is_said_in_a_sentence() {
        let check = |pods, ended, stage, text: &str| {
            let progress = ShutdownProgress {
                since: at(0),
                pods,
                ended,
                stage,
            };
            assert_eq!(progress.at(at(10)).to_string(), text);
        };
        let group = |until| ShutdownStage::Group {
            priority: 0,
            until: at(until),
        };
        check(
            12,
            3,
            group(30),
            "Shutting down: 3 of 12 pods have ended, 20 s left (priority 0)",
        );
        check(
            1,
            0,
            group(5),
            "Shutting down: 0 of 1 pod has ended, 0 s left (priority 0)",
        );
        check(2, 1, ShutdownStage::Over, "Shutting down: 1 of 2 pods have ended");
    }
}
