//! Whether the project quota of a volume is believed. Pure: the caller counts, and draws.
//!
//! A file system knows at any moment what the files of a project take. But outside of a user namespace the owner of a file
//! may give it to another project, also without any privilege: a pod could hide what it stores, or charge it to others. The
//! kubelet believes the quotas of pods in user namespaces alone. Here a quota answers while walks agree with it: the first
//! count of a volume is a walk, and later one in ten, drawn at random, so that nobody can prepare for it.
//!
//! - A walk that finds more than the quota says, before and after it: something is hidden. The quota never answers again.
//! - A walk that finds less, or a quota that changes meanwhile: files that are deleted and still open, a busy volume, or
//!   files of others. The walk answers. The quota does so again after walks that agree, each time after twice as many.
//! - A walk that takes too long finds nothing. There is no better number than the quota's.

use crate::model::stats::DirectoryUsage;

/// One count in so many is a walk.
const DRAWN: u64 = 10;
/// What may change during a walk that agrees: this part of what there is, and this much of a small volume.
const PART: u64 = 16;
const SPARE: DirectoryUsage = DirectoryUsage {
    bytes: 1 << 20,
    inodes: 64,
};
/// How often the number of walks that must agree is doubled.
const DOUBLINGS: u32 = 10;

/// How a volume is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The file system is asked.
    Quota,
    /// Its directories are read.
    Walk,
}

/// What a walk says of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Finding {
    /// The same.
    Agrees,
    /// Something else, for which there are harmless reasons.
    Differs,
    /// More is there than the quota says.
    Hidden,
}

/// Compares what a walk has found with the quota before and after it.
pub(super) fn compare(before: DirectoryUsage, walked: DirectoryUsage, after: DirectoryUsage) -> Finding {
    let bytes = compare_amount(before.bytes, walked.bytes, after.bytes, SPARE.bytes);
    let inodes = compare_amount(before.inodes, walked.inodes, after.inodes, SPARE.inodes);
    bytes.max(inodes)
}

fn compare_amount(before: u64, walked: u64, after: u64, spare: u64) -> Finding {
    let (least, most) = (before.min(after), before.max(after));
    let tolerance = (most / PART).saturating_add(spare);
    if walked > most.saturating_add(tolerance) {
        return Finding::Hidden;
    }
    match (least..=most).contains(&walked) && most - least <= tolerance {
        true => Finding::Agrees,
        false => Finding::Differs,
    }
}

/// What past walks say of the quota of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Standing {
    /// No walk has shown yet that it is right.
    #[default]
    Unknown,
    /// Walks agreed, or will have to: so many in a row, after one of so many differed.
    Compared {
        /// Walks that agreed since one differed.
        agreed: u32,
        /// Walks that differed.
        differed: u32,
    },
    /// No walk has come to an end.
    Unwalkable,
    /// It is wrong.
    Refuted,
}

impl Standing {
    /// Whether the quota answers.
    pub(super) fn is_believed(self) -> bool {
        match self {
            Standing::Unknown | Standing::Refuted => false,
            Standing::Compared { agreed, differed } => agreed >= 1 << differed.min(DOUBLINGS),
            Standing::Unwalkable => true,
        }
    }

    /// How the next count is made. `rested`: the last walk is long enough ago for how long it took; `drawn`: any number,
    /// which nobody can know.
    pub(super) fn source(self, rested: bool, drawn: u64) -> Source {
        match self.is_believed() && !(rested && drawn.is_multiple_of(DRAWN)) {
            true => Source::Quota,
            false => Source::Walk,
        }
    }

    /// After a walk; `None`: it did not come to an end.
    pub(super) fn after(self, finding: Option<Finding>) -> Standing {
        let differed = match self {
            Standing::Refuted => return Standing::Refuted,
            Standing::Compared { differed, .. } => differed,
            Standing::Unknown | Standing::Unwalkable => 0,
        };
        match finding {
            None => Standing::Unwalkable,
            Some(Finding::Hidden) => Standing::Refuted,
            Some(Finding::Differs) => Standing::Compared {
                agreed: 0,
                differed: differed.saturating_add(1),
            },
            Some(Finding::Agrees) => {
                let agreed = match self {
                    Standing::Compared { agreed, .. } => agreed,
                    _ => 0,
                };
                Standing::Compared {
                    agreed: agreed.saturating_add(1),
                    differed,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn mib(bytes: u64, inodes: u64) -> DirectoryUsage {
        DirectoryUsage {
            bytes: bytes * MIB,
            inodes,
        }
    }

    #[test]
    fn a_walk_agrees_with_what_the_quota_was_meanwhile() {
        let check = |before, walked, after, expected| assert_eq!(compare(before, walked, after), expected);
        check(mib(100, 10), mib(100, 10), mib(100, 10), Finding::Agrees);
        check(mib(100, 10), mib(103, 11), mib(104, 12), Finding::Agrees);
        check(mib(104, 12), mib(103, 11), mib(100, 10), Finding::Agrees);
        // It doubled while it was walked through, or somebody gave back what was hidden.
        check(mib(100, 10), mib(200, 10), mib(200, 10), Finding::Differs);
        check(mib(100, 10), mib(100, 500), mib(100, 500), Finding::Differs);
        // Deleted and still open, or of somebody else.
        check(mib(100, 10), mib(50, 10), mib(100, 10), Finding::Differs);
        // A little too much may be a file that was moved and seen twice.
        check(mib(100, 10), mib(105, 10), mib(100, 10), Finding::Differs);
        check(mib(100, 10), mib(120, 10), mib(100, 10), Finding::Hidden);
        check(mib(0, 1), mib(2, 1), mib(0, 1), Finding::Hidden);
        check(mib(1, 10), mib(1, 100), mib(1, 10), Finding::Hidden);
    }

    #[test]
    fn a_quota_answers_after_walks_that_agree_and_is_checked_at_random() {
        let new = Standing::default();
        assert_eq!(new.source(true, 1), Source::Walk);
        let believed = new.after(Some(Finding::Agrees));
        assert_eq!(believed.source(true, 1), Source::Quota);
        assert_eq!(believed.source(true, DRAWN), Source::Walk);
        assert_eq!(
            believed.source(false, DRAWN),
            Source::Quota,
            "a walk that took long rests"
        );
        // One that differs is followed by two that agree, then by four.
        let mut standing = believed;
        for agreeing in [2, 4, 8] {
            standing = standing.after(Some(Finding::Differs));
            for _ in 0..agreeing {
                assert_eq!(standing.source(true, 1), Source::Walk);
                standing = standing.after(Some(Finding::Agrees));
            }
            assert_eq!(standing.source(true, 1), Source::Quota);
        }
        let unwalkable = new.after(None);
        assert_eq!(unwalkable.source(true, 1), Source::Quota);
        assert_eq!(unwalkable.after(Some(Finding::Hidden)), Standing::Refuted);
    }

    fn finding() -> impl Strategy<Value = Option<Finding>> {
        prop_oneof![
            Just(None),
            Just(Some(Finding::Agrees)),
            Just(Some(Finding::Differs)),
            Just(Some(Finding::Hidden)),
        ]
    }

    proptest! {
        #[test]
        fn a_volume_that_hid_something_once_is_always_walked_through(
            before in proptest::collection::vec(finding(), 0..8),
            after in proptest::collection::vec(finding(), 0..8),
            drawn: u64,
            rested: bool,
        ) {
            let findings = before.into_iter().chain([Some(Finding::Hidden)]).chain(after);
            let standing = findings.fold(Standing::default(), Standing::after);
            prop_assert_eq!(standing.source(rested, drawn), Source::Walk);
        }

        #[test]
        fn what_a_still_quota_hides_beyond_nothing_is_never_an_agreement(quota: u64, hidden in 1..u64::MAX) {
            let usage = |bytes| DirectoryUsage { bytes, inodes: 1 };
            let finding = compare(usage(quota), usage(quota.saturating_add(hidden)), usage(quota));
            prop_assert!(finding != Finding::Agrees || quota == u64::MAX);
        }

        #[test]
        fn what_is_given_back_in_time_is_no_more_than_the_tolerance(before: u64, walked: u64, after: u64) {
            let usage = |bytes| DirectoryUsage { bytes, inodes: 1 };
            if compare(usage(before), usage(walked), usage(after)) == Finding::Agrees {
                let most = before.max(after);
                prop_assert!(walked.saturating_sub(before) <= (most / PART).saturating_add(SPARE.bytes));
            }
        }
    }
}
