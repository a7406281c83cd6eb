//! For how long a file of the manifests directory is waited for. Pure.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::file::Stamp;

/// A file is gone if it has not come back after this: some editors rename the old one away before they write the new
/// one.
pub(super) const FILE_GRACE: Duration = Duration::from_millis(50);

/// Likewise for the directory, which is sometimes replaced by hand.
pub(super) const DIRECTORY_GRACE: Duration = Duration::from_secs(1);

/// A file without a manifest's extension counts as one when it has not changed for this long: before that an editor may
/// be about to rename it (`sed -i` writes `sedXXXXXX`).
pub(super) const UNNAMED_GRACE: Duration = Duration::from_secs(1);

/// The tick of the kernel's clock for file times: the second of two changes within a tick leaves no trace.
pub(super) const CLOCK_TICK: Duration = Duration::from_millis(20);

pub(super) fn since_then(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

pub(super) fn age(stamp: &Stamp, now: Timestamp) -> Duration {
    let nanos = now.as_nanosecond() - stamp.changed_nanos();
    // A file with a future time counts as old: clocks are set back at times.
    u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
}

/// How long a file without a manifest's extension is not yet taken for one.
pub(super) fn unnamed_wait(path: &Path, stamp: &Stamp, now: Timestamp) -> Option<Duration> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    if matches!(extension, "yaml" | "yml" | "json") {
        return None;
    }
    UNNAMED_GRACE
        .checked_sub(age(stamp, now))
        .filter(|wait| !wait.is_zero())
}
