//! How soon a watch of the API server that failed is begun again.
//!
//! The library's own pace never slows down: it begins anew at whatever is told, and each try is told to begin. So a
//! node would ask every second, with each of its watches, for as long as the API server is away.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use kube::runtime::utils::Backoff;
use tokio::time::Instant;

/// The first and the longest wait.
const FIRST: Duration = Duration::from_millis(800);
const LONGEST: Duration = Duration::from_secs(15);
/// What has lasted so long since the last failure was no try: longer than a try may take together with its wait.
const LASTED: Duration = Duration::from_secs(60);

/// Waits that double from failure to failure, up to a limit, and begin anew with a success.
pub(super) struct Pace {
    next: Duration,
    failed: Option<Instant>,
    /// What was told since the last failure: each try tells that it begins, a success tells more.
    told: u32,
}

impl Pace {
    /// Nothing has failed yet.
    pub(super) fn new() -> Pace {
        Pace {
            next: FIRST,
            failed: None,
            told: 0,
        }
    }

    /// The wait after a failure at this time, without its spread.
    fn failure(&mut self, now: Instant) -> Duration {
        let has_lasted = self.failed.is_some_and(|failed| now - failed >= LASTED);
        if has_lasted || self.told > 1 {
            self.next = FIRST;
        }
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        self.failed = Some(now);
        self.told = 0;
        wait
    }
}

impl Iterator for Pace {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.failure(Instant::now());
        // Nodes that lost the API server together come back one after the other.
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let spread = RandomState::new().hash_one(0_u8) % (millis / 2 + 1);
        Some(wait + Duration::from_millis(spread))
    }
}

impl Backoff for Pace {
    fn reset(&mut self) {
        self.told = self.told.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(pace: &mut Pace, now: Instant, tells: u32, times: usize) -> Vec<u128> {
        let mut wait = || {
            (0..tells).for_each(|_| pace.reset());
            pace.failure(now).as_millis()
        };
        (0..times).map(|_| wait()).collect()
    }

    #[test]
    fn each_try_that_fails_is_followed_by_a_longer_wait() {
        let (mut pace, now) = (Pace::new(), Instant::now());
        // Of a list each try tells that it begins, of a watch nothing.
        assert_eq!(waits(&mut pace, now, 1, 3), [800, 1600, 3200]);
        assert_eq!(waits(&mut pace, now, 0, 4), [6400, 12800, 15000, 15000]);
    }

    #[test]
    fn a_success_and_a_long_silence_begin_anew() {
        let (mut pace, now) = (Pace::new(), Instant::now());
        waits(&mut pace, now, 1, 4);
        assert_eq!(waits(&mut pace, now, 2, 1), [800]);
        waits(&mut pace, now, 1, 4);
        assert_eq!(waits(&mut pace, now + LASTED, 0, 1), [800]);
    }

    #[test]
    fn a_wait_is_spread_over_half_of_itself() {
        let wait = Pace::new().next().expect("it never gives up");
        assert!((FIRST..=FIRST * 3 / 2).contains(&wait), "{wait:?}");
    }
}
