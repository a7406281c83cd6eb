//! How many checkpoints are made and kept. Pure.

use std::path::Path;

use jiff::Timestamp;

/// Checkpoints that are made at the same time. Each writes a container's memory to the disk.
const AT_ONCE: usize = 2;
/// Checkpoints of one container, by pod and name.
const OF_A_CONTAINER: usize = 10;
/// Checkpoints of all containers, and whatever else is in the directory.
pub(super) const IN_ALL: usize = 100;
/// The part of the file system that may be filled before the last checkpoint, in percent: less than what eviction
/// leaves free by default.
const PERCENT: u64 = 10;

/// Whose checkpoint a file is, by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subject(String);

impl Subject {
    /// The container of that name in a pod.
    pub(super) fn new(namespace: &str, pod: &str, container: &str) -> Subject {
        Subject(format!("checkpoint-{pod}_{namespace}-{container}-"))
    }

    /// The name of its checkpoint of that time, the kubelet's (`CheckpointContainer` in `pkg/kubelet/kubelet.go`).
    pub(super) fn file(&self, now: Timestamp) -> String {
        let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
        format!("{}{seconds}.tar", self.0)
    }

    fn owns(&self, file: &str) -> bool {
        let time = file
            .strip_prefix(&self.0)
            .and_then(|rest| rest.strip_suffix(".tar"));
        time.is_some_and(|time| time.parse::<Timestamp>().is_ok())
    }
}

/// What is in the directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// The names of the files.
    pub(super) files: Vec<String>,
    /// The bytes that they take.
    pub(super) bytes: u64,
    /// The size of the file system in bytes.
    pub(super) disk: u64,
}

/// Why no checkpoint is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("{0} checkpoints are being made; try again later")]
    Busy(usize),
    #[error("a checkpoint of this container is being made or was made this second; try again later")]
    Same,
    #[error("{count} checkpoints of this container are kept in {directory}; remove some")]
    TooManyOfContainer { count: usize, directory: String },
    #[error("{count} checkpoints are kept in {directory}; remove some")]
    TooMany { count: usize, directory: String },
    #[error("the checkpoints in {directory} take {PERCENT}% of their file system or more; remove some")]
    TooLarge { directory: String },
}

impl Refused {
    /// Whether it is over by itself.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, Refused::Busy(_) | Refused::Same)
    }
}

/// Whether a checkpoint of this container may be made beside those `under_way`.
pub(super) fn begin(subject: &Subject, under_way: &[Subject]) -> Result<(), Refused> {
    if under_way.contains(subject) {
        return Err(Refused::Same);
    }
    match under_way.len() {
        count if count >= AT_ONCE => Err(Refused::Busy(count)),
        _ => Ok(()),
    }
}

/// Whether there is room in the directory. Those under way may not be in it yet, so that at most one more than the bound
/// is kept.
pub(super) fn room(subject: &Subject, kept: &Kept, directory: &Path) -> Result<(), Refused> {
    let directory = || directory.display().to_string();
    let count = kept.files.iter().filter(|file| subject.owns(file)).count();
    if count >= OF_A_CONTAINER {
        return Err(Refused::TooManyOfContainer {
            count,
            directory: directory(),
        });
    }
    if kept.files.len() >= IN_ALL {
        return Err(Refused::TooMany {
            count: kept.files.len(),
            directory: directory(),
        });
    }
    match kept.bytes >= kept.disk / 100 * PERCENT {
        true => Err(Refused::TooLarge {
            directory: directory(),
        }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> Subject {
        Subject::new("ns", "web", "c")
    }

    fn time(second: usize) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + i64::try_from(second).unwrap()).unwrap()
    }

    #[test]
    fn a_file_is_counted_for_its_own_container_alone() {
        let now = "2026-11-28T20:51:05.7Z".parse().unwrap();
        assert_eq!(web().file(now), "checkpoint-web_ns-c-2026-11-28T20:51:05Z.tar");
        let check = |file: &str, expected: bool| assert_eq!(web().owns(file), expected, "{file}");
        check("checkpoint-web_ns-c-2026-11-28T20:51:05Z.tar", true);
        // The kubelet writes local time.
        check("checkpoint-web_ns-c-2026-11-28T20:51:05+01:00.tar", true);
        check("checkpoint-web_ns-c-c-2026-11-28T20:51:05Z.tar", false);
        check("checkpoint-web_ns-d-2026-11-28T20:51:05Z.tar", false);
        check("checkpoint-web_ns-c-.tar", false);
        check("other", false);
    }

    #[test]
    fn a_few_are_made_at_once_and_one_of_a_container() {
        let (a, b) = (Subject::new("ns", "a", "c"), Subject::new("ns", "b", "c"));
        assert_eq!(begin(&web(), &[]), Ok(()));
        assert_eq!(begin(&web(), std::slice::from_ref(&a)), Ok(()));
        assert_eq!(begin(&web(), &[a, b]), Err(Refused::Busy(2)));
        let same = begin(&web(), &[web()]).unwrap_err();
        assert!(same.is_temporary());
        assert_eq!(same, Refused::Same);
    }

    #[test]
    fn what_is_kept_is_bounded_by_container_by_number_and_by_size() {
        let kept = |own: usize, others: usize, bytes: u64| {
            let own = (0..own).map(|number| web().file(time(number)));
            let others = (0..others).map(|number| format!("other {number}"));
            Kept {
                files: own.chain(others).collect(),
                bytes,
                disk: 1000,
            }
        };
        let check = |kept: Kept, expected: Option<&str>| {
            let refused = room(&web(), &kept, Path::new("/c")).err();
            assert!(refused.as_ref().is_none_or(|refused| !refused.is_temporary()));
            let refused = refused.map(|refused| refused.to_string());
            assert_eq!(refused.as_deref(), expected, "{kept:?}");
        };
        check(kept(0, 0, 0), None);
        check(kept(9, 90, 99), None);
        check(
            kept(10, 0, 0),
            Some("10 checkpoints of this container are kept in /c; remove some"),
        );
        check(
            kept(0, 100, 0),
            Some("100 checkpoints are kept in /c; remove some"),
        );
        let large = "the checkpoints in /c take 10% of their file system or more; remove some";
        check(kept(1, 0, 100), Some(large));
    }
}
