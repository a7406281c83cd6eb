//! Which thresholds the node has crossed, and which of its conditions follow
//! (`pkg/kubelet/eviction/{eviction_manager,helpers}.go`). A condition holds from the moment on at which a threshold is
//! crossed until none of its kind was for a while: otherwise a node close to a threshold would alternate between getting
//! pods and rejecting them. Pods have to make room for a threshold from the end of its grace period on, until there is as
//! much as it asks for and `evictionMinimumReclaim` more.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::eviction::{EvictionPolicy, EvictionThreshold, Shortage};
use crate::model::later::later;
use crate::model::measured::Measured;

/// The thresholds that are crossed. Carried over from one measurement to the next; losing it lengthens a grace period.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Crossed {
    /// The measurement that was looked at last.
    pub(super) seen: Timestamp,
    /// Since when a threshold is crossed or not resolved, by its place in the policy.
    since: BTreeMap<usize, Timestamp>,
    /// Those whose grace period is over.
    met: BTreeSet<usize>,
    /// When the node had each shortage last.
    last: BTreeMap<Shortage, Timestamp>,
}

impl Crossed {
    /// After this measurement. The same one twice changes nothing.
    pub(super) fn after(&self, measured: &Measured, policy: &EvictionPolicy) -> Crossed {
        let at = measured.at;
        if at == self.seen {
            return self.clone();
        }
        let is_crossed = |number: &usize, threshold: &EvictionThreshold| {
            measured.crosses(threshold) || self.met.contains(number) && measured.is_short_for(threshold)
        };
        let numbered = policy.thresholds.iter().enumerate();
        let crossed = numbered.filter(|(number, threshold)| is_crossed(number, threshold));
        let since: BTreeMap<usize, Timestamp> = crossed
            .map(|(number, _)| (number, self.since.get(&number).copied().unwrap_or(at)))
            .collect();
        let is_over = |(number, since): (&usize, &Timestamp)| {
            let grace = policy.thresholds.get(*number)?.grace;
            (grace.is_zero() || later(*since, grace) <= at).then_some(*number)
        };
        let mut last = self.last.clone();
        let shortages = since.keys().filter_map(|number| policy.thresholds.get(*number));
        last.extend(shortages.map(|threshold| (threshold.signal.shortage(), at)));
        Crossed {
            seen: at,
            met: since.iter().filter_map(is_over).collect(),
            since,
            last,
        }
    }

    /// The thresholds that pods have to make room for, the most urgent first.
    pub(super) fn met<'a>(&self, policy: &'a EvictionPolicy) -> Vec<&'a EvictionThreshold> {
        let met = self
            .met
            .iter()
            .filter_map(|number| policy.thresholds.get(*number));
        let mut met: Vec<_> = met.collect();
        // Memory before everything else (`byEvictionPriority`), otherwise as configured: hard ones come first.
        met.sort_by_key(|threshold| threshold.signal.shortage() != Shortage::Memory);
        met
    }

    /// What the node is short of, or was within the period (`evictionPressureTransitionPeriod`).
    pub(super) fn short_of(&self, policy: &EvictionPolicy, now: Timestamp) -> BTreeSet<Shortage> {
        let is_recent = |last: Timestamp| last > now || now < later(last, policy.transition);
        let of_late = self.last.iter().filter(|(_, last)| is_recent(**last));
        let of_late = of_late.map(|(shortage, _)| *shortage);
        self.now(policy).chain(of_late).collect()
    }

    /// When a grace period or a condition ends though nothing else changes.
    pub(super) fn changes_at(&self, policy: &EvictionPolicy, now: Timestamp) -> Option<Timestamp> {
        let held: BTreeSet<Shortage> = self.now(policy).collect();
        let going = self.last.iter().filter(|(shortage, _)| !held.contains(shortage));
        let going = going.map(|(_, last)| later(*last, policy.transition));
        self.graces(policy).chain(going).filter(|at| *at > now).min()
    }

    /// Since when a grace period is over that was not when the machine was measured last.
    pub(super) fn outdated_since(&self, policy: &EvictionPolicy, now: Timestamp) -> Option<Timestamp> {
        self.graces(policy).filter(|end| *end <= now).min()
    }

    /// The ends of the grace periods that were not over when the machine was measured.
    fn graces(&self, policy: &EvictionPolicy) -> impl Iterator<Item = Timestamp> {
        let waiting = self.since.iter().filter(|(number, _)| !self.met.contains(number));
        waiting.filter_map(|(number, since)| Some(later(*since, policy.thresholds.get(*number)?.grace)))
    }

    fn now(&self, policy: &EvictionPolicy) -> impl Iterator<Item = Shortage> {
        let crossed = self
            .since
            .keys()
            .filter_map(|number| policy.thresholds.get(*number));
        crossed.map(|threshold| threshold.signal.shortage())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::eviction::Signal;
    use crate::model::measured::FsUsage;
    use crate::model::resources::Bytes;
    use crate::model::threshold::Threshold;

    const PERIOD: Duration = Duration::from_secs(300);

    fn roomy() -> Measured {
        let fs = FsUsage {
            capacity: Bytes(1000),
            available: Bytes(500),
            inodes: 100,
            inodes_free: 50,
        };
        Measured {
            memory: Bytes(1000),
            memory_available: Bytes(500),
            nodefs: fs,
            imagefs: Some(fs),
            pids_max: 1000,
            pids_used: 100,
            ..Measured::default()
        }
    }

    fn policy() -> EvictionPolicy {
        let hard = [
            (Signal::Memory, Threshold::Quantity(100)),
            (Signal::Nodefs, Threshold::Fraction(0.1)),
            (Signal::NodefsInodes, Threshold::Fraction(0.05)),
            (Signal::Imagefs, Threshold::Fraction(0.15)),
            (Signal::ImagefsInodes, Threshold::Quantity(3)),
            (Signal::Pids, Threshold::Fraction(0.1)),
        ];
        let thresholds = hard.map(|(signal, value)| EvictionThreshold {
            signal,
            value,
            grace: Duration::ZERO,
            reclaim: None,
        });
        EvictionPolicy {
            thresholds: thresholds.into(),
            transition: PERIOD,
            ..EvictionPolicy::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    /// Measured at that second.
    fn then(measured: &Measured, second: i64) -> Measured {
        Measured {
            at: at(second),
            ..measured.clone()
        }
    }

    fn check(change: impl FnOnce(&mut Measured), expected: &[Shortage]) {
        let mut measured = then(&roomy(), 0);
        change(&mut measured);
        let crossed = Crossed::default().after(&measured, &policy());
        let short: Vec<Shortage> = crossed.short_of(&policy(), at(0)).into_iter().collect();
        assert_eq!(short, expected, "{measured:?}");
    }

    #[test]
    fn each_signal_has_its_condition() {
        check(|_| {}, &[]);
        check(|m| m.memory_available = Bytes(99), &[Shortage::Memory]);
        check(|m| m.memory_available = Bytes(100), &[]);
        check(|m| m.nodefs.available = Bytes(99), &[Shortage::Disk]);
        check(|m| m.nodefs.available = Bytes(101), &[]);
        check(|m| m.nodefs.inodes_free = 4, &[Shortage::Disk]);
        check(
            |m| m.imagefs.as_mut().unwrap().available = Bytes(149),
            &[Shortage::Disk],
        );
        check(|m| m.imagefs.as_mut().unwrap().inodes_free = 2, &[Shortage::Disk]);
        check(|m| m.imagefs = None, &[]);
        check(|m| m.pids_used = 901, &[Shortage::Pids]);
        check(|m| (m.nodefs.inodes, m.nodefs.inodes_free) = (0, 0), &[]);
        check(
            |m| (m.memory_available, m.pids_used) = (Bytes(0), 1000),
            &[Shortage::Memory, Shortage::Pids],
        );
    }

    #[test]
    fn no_threshold_no_pressure() {
        let policy = EvictionPolicy::default();
        let crossed = Crossed::default().after(&then(&Measured::default(), 0), &policy);
        assert!(crossed.short_of(&policy, at(0)).is_empty());
    }

    #[test]
    fn pressure_comes_at_once_and_goes_after_the_period() {
        let short = Measured {
            memory_available: Bytes(1),
            ..roomy()
        };
        let mut crossed = Crossed::default();
        let mut measure = |measured: &Measured, second: i64| {
            crossed = crossed.after(&then(measured, second), &policy());
            let short: Vec<Shortage> = crossed.short_of(&policy(), at(second)).into_iter().collect();
            (short, crossed.changes_at(&policy(), at(second)))
        };
        assert_eq!(measure(&roomy(), 0), (vec![], None));
        assert_eq!(measure(&short, 10), (vec![Shortage::Memory], None));
        // No longer short, but it still counts as short.
        assert_eq!(measure(&roomy(), 20), (vec![Shortage::Memory], Some(at(310))));
        // Crossed again: the period starts over.
        measure(&short, 200);
        assert_eq!(measure(&roomy(), 200 + 299).0, [Shortage::Memory]);
        assert_eq!(measure(&roomy(), 200 + 300), (vec![], None));
        assert_eq!(measure(&short, 501).0, [Shortage::Memory]);
    }

    #[test]
    fn without_a_period_it_goes_with_the_next_measurement() {
        let short = Measured {
            pids_used: 1000,
            ..roomy()
        };
        let policy = EvictionPolicy {
            transition: Duration::ZERO,
            ..policy()
        };
        let crossed = Crossed::default().after(&then(&short, 0), &policy);
        assert_eq!(crossed.short_of(&policy, at(9)), BTreeSet::from([Shortage::Pids]));
        let crossed = crossed.after(&then(&roomy(), 10), &policy);
        assert_eq!(crossed.short_of(&policy, at(10)), BTreeSet::new());
    }

    /// The example of the documentation: a soft threshold has a grace period, and both want more than the threshold back.
    #[test]
    fn a_threshold_is_met_when_its_grace_is_over_until_enough_is_free() {
        let policy = EvictionPolicy {
            thresholds: vec![EvictionThreshold {
                signal: Signal::Memory,
                value: Threshold::Quantity(100),
                grace: Duration::from_secs(90),
                reclaim: Some(Threshold::Quantity(50)),
            }],
            ..policy()
        };
        let with = |available| Measured {
            memory_available: Bytes(available),
            ..roomy()
        };
        let mut crossed = Crossed::default();
        let mut measure = |available, second| {
            crossed = crossed.after(&then(&with(available), second), &policy);
            (
                crossed.met(&policy).len(),
                crossed.changes_at(&policy, at(second)),
                crossed.outdated_since(&policy, at(90)),
            )
        };
        assert_eq!(measure(99, 0), (0, Some(at(90)), Some(at(90))));
        // The condition is there at once, and a break begins the grace period anew.
        assert_eq!(measure(100, 30), (0, Some(at(300)), None));
        assert_eq!(measure(99, 40), (0, Some(at(130)), None));
        assert_eq!(measure(99, 129), (0, Some(at(130)), None));
        assert_eq!(measure(99, 130), (1, None, None));
        // Enough for the threshold is not enough to stop.
        assert_eq!(measure(149, 140), (1, None, None));
        assert_eq!(measure(150, 150), (0, Some(at(440)), None));
        assert_eq!(measure(149, 160), (0, Some(at(440)), None));
    }
}
