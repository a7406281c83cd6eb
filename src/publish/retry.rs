//! Classifies errors of the API server, and computes the wait before the next attempt.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::backoff::{self, Doubling};

/// The waits after failures.
const WAITS: Doubling = Doubling::new(Duration::from_millis(200), Duration::from_secs(15));
/// The longest sleep of a task: a safeguard against clock changes.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiFailure {
    /// The object does not exist (any more) (404).
    Gone,
    /// The object is a different one than expected, or exists already (409).
    Conflict,
    /// The API server forbids or rejects the request (other 4xx).
    Refused,
    /// It is overloaded, unreachable or broken: the same request may succeed later.
    Unavailable,
}

impl ApiFailure {
    /// Classifies an error.
    pub fn of(error: &kube::Error) -> ApiFailure {
        let kube::Error::Api(status) = error else {
            return ApiFailure::Unavailable;
        };
        match status.code {
            404 => ApiFailure::Gone,
            409 => ApiFailure::Conflict,
            429 => ApiFailure::Unavailable,
            400..=499 => ApiFailure::Refused,
            _ => ApiFailure::Unavailable,
        }
    }
}

/// The client's error on one line.
pub(super) fn text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.lines().next().unwrap_or_default().to_owned(),
        other => other.to_string(),
    }
}

/// A wait that doubles with each failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    delay: Duration,
    until: Timestamp,
}

impl Backoff {
    /// The wait after one more failure. `salt` spreads callers that failed together over half of the wait.
    pub(super) fn next(last: Option<Backoff>, now: Timestamp, salt: u64) -> Backoff {
        let delay = WAITS.after(last.map(|last| last.delay));
        Backoff {
            delay,
            until: now + backoff::spread(delay, salt),
        }
    }

    /// When the wait is over.
    pub(super) fn until(self) -> Timestamp {
        self.until
    }
}

/// How long a task sleeps that has work at `next` at the latest. Work that is due already is done at once.
pub(super) fn sleep(next: Option<Timestamp>, now: Timestamp) -> Duration {
    next.map_or(LONGEST_SLEEP, |next| {
        Duration::try_from(next.duration_since(now)).unwrap_or(Duration::ZERO)
    })
    .min(LONGEST_SLEEP)
}

/// A number that differs between callers, to spread their waits.
pub(super) fn salt(text: &str) -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_by_now_is_not_slept_over() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let check = |next: Option<i64>, want: u64| {
            assert_eq!(
                sleep(next.map(at), at(100)),
                Duration::from_secs(want),
                "{next:?}"
            );
        };
        check(None, 30);
        check(Some(1000), 30);
        check(Some(107), 7);
        check(Some(100), 0);
        check(Some(99), 0);
    }

    #[test]
    fn waits_double_up_to_a_limit() {
        let now = Timestamp::UNIX_EPOCH;
        let mut last = None;
        let mut delays = Vec::new();
        for _ in 0..9 {
            let next = Backoff::next(last, now, 0);
            delays.push(next.delay.as_millis());
            last = Some(next);
        }
        assert_eq!(delays, [200, 400, 800, 1600, 3200, 6400, 12800, 15000, 15000]);
    }
}
