//! Whether a file may be read now, or is still being written. Pure but for the question to the kernel.
//!
//! A half-written manifest may be a valid pod by itself. Three signs show that it is complete: the kernel's events (a
//! change without a close means it is not), whether a process has it open for writing, and, where that cannot be known,
//! how long it has not changed.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::statfs::{self, FsType};

/// How long a file must stay unchanged to count as complete when its close was not seen.
pub(super) const QUIET: Duration = Duration::from_millis(200);
/// After this time an unread file that is open for writing is reported.
pub(super) const REPORTED_AFTER: Duration = Duration::from_secs(10);
/// The shortest time before an open file is checked again.
const SOONEST: Duration = Duration::from_millis(2);

/// Whether processes have a file open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writers {
    /// No process.
    None,
    /// At least one process.
    Some,
    /// The file system does not say.
    Unknown,
}

/// Whether the file system is asked for writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseUse {
    /// Yes, because the process survives SIGIO.
    Yes,
    No,
}

/// Whether a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It is.
    Ready,
    /// Not before it has been unchanged for this long.
    Unquiet(Duration),
    /// Not before it is closed.
    Open,
}

/// Whether to read a file that changed `age` ago. `is_complete`: the kernel reported that it was closed after its last
/// change, or moved into place.
pub(super) fn readiness(writers: Writers, is_complete: bool, age: Duration) -> Readiness {
    match (writers, is_complete) {
        // One of several writers may have closed it.
        (Writers::Some, _) => Readiness::Open,
        (Writers::None, _) | (Writers::Unknown, true) => Readiness::Ready,
        (Writers::Unknown, false) => match QUIET.checked_sub(age) {
            Some(wait) if !wait.is_zero() => Readiness::Unquiet(wait),
            _ => Readiness::Ready,
        },
    }
}

/// When to check again a file that has been open for `open`, and for `unheard` since the kernel last reported a close.
/// The kernel reports the close just before the file counts as closed, and not at all if it was opened by a name in
/// another directory. So the first check is soon, and later ones are less and less frequent.
pub(super) fn recheck_after(open: Duration, unheard: Duration) -> Duration {
    let until_report = REPORTED_AFTER.checked_sub(open).filter(|wait| !wait.is_zero());
    let again = unheard.max(SOONEST);
    until_report.map_or(again, |wait| again.min(wait))
}

/// Finds out whether a process has a file open for writing: the kernel grants a read lease only while none does
/// (`fcntl_setleases(2)`). The lease ends with the descriptor; until then a process that opens the file for writing
/// blocks, so the content is read in one piece. The kernel then sends SIGIO, which ends a process without a handler for
/// it.
///
/// Alternatives that are not used: scanning the descriptors of all processes, whose cost other processes control; and
/// open events, which do not show what was open before the subscription.
pub(super) fn writers(file: &File) -> Writers {
    // An exception to the rule: no crate here has this call.
    #[allow(unsafe_code)]
    // SAFETY: the command takes a number and no pointer; the descriptor is open while `file` is borrowed.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
    match Errno::result(answer) {
        Ok(_) => Writers::None,
        Err(Errno::EAGAIN) if !is_remote(file) => Writers::Some,
        // EACCES: another user's file, without privileges. EINVAL: a file system without leases.
        Err(_) => Writers::Unknown,
    }
}

/// Whether the file is on a network file system: such clients return EAGAIN whenever the server has not delegated the
/// file to them (`nfs4_proc_setlease`, `cifs_setlease`).
fn is_remote(file: &File) -> bool {
    const SMB2: FsType = FsType(0xfe53_4d42);
    const CIFS: FsType = FsType(0xff53_4d42);
    let kind = statfs::fstatfs(file).map(|stat| stat.filesystem_type());
    kind.is_ok_and(|kind| [statfs::NFS_SUPER_MAGIC, statfs::SMB_SUPER_MAGIC, SMB2, CIFS].contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_when_it_is_closed_or_nothing_can_be_known_and_it_is_quiet() {
        let check = |writers, is_complete, age: u64, expected| {
            let found = readiness(writers, is_complete, Duration::from_millis(age));
            assert_eq!(found, expected, "{writers:?} {is_complete} {age} ms");
        };
        for age in [0, 199, 200, 100_000] {
            for is_complete in [false, true] {
                check(Writers::None, is_complete, age, Readiness::Ready);
                check(Writers::Some, is_complete, age, Readiness::Open);
            }
            check(Writers::Unknown, true, age, Readiness::Ready);
        }
        let unquiet = |millis| Readiness::Unquiet(Duration::from_millis(millis));
        check(Writers::Unknown, false, 0, unquiet(200));
        check(Writers::Unknown, false, 199, unquiet(1));
        check(Writers::Unknown, false, 200, Readiness::Ready);
        check(Writers::Unknown, false, 100_000, Readiness::Ready);
    }

    #[test]
    fn an_open_file_is_asked_about_soon_and_then_seldom_and_when_it_is_to_be_reported() {
        let check = |open: u64, unheard: u64, expected: u64| {
            let again = recheck_after(Duration::from_millis(open), Duration::from_millis(unheard));
            assert_eq!(again, Duration::from_millis(expected), "{open} {unheard}");
        };
        check(0, 0, 2);
        check(2, 2, 2);
        check(100, 100, 100);
        check(9_000, 9_000, 1_000);
        check(10_000, 10_000, 10_000);
        // One of its writers has just closed it.
        check(60_000, 0, 2);
    }

    #[test]
    fn whoever_has_a_file_open_for_writing_is_seen() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let ask = || writers(&File::open(file.path()).unwrap());
        assert_eq!(ask(), Writers::Some, "the one that made it");
        let path = file.into_temp_path();
        let ask = || writers(&File::open(&path).unwrap());
        assert_eq!(ask(), Writers::None);
        let reader = File::open(&path).unwrap();
        assert_eq!(ask(), Writers::None, "a reader is no writer");
        let writer = File::options().append(true).open(&path).unwrap();
        let second = writer.try_clone().unwrap();
        drop(writer);
        assert_eq!(ask(), Writers::Some);
        drop((second, reader));
        assert_eq!(ask(), Writers::None);
    }
}
