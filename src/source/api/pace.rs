//! The back-off of failed watches of the API server.
//!
//! The library's own back-off never slows down: it resets on every event, and each attempt starts with one. A node
//! would retry each of its watches every second for as long as the API server is unreachable.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use kube::runtime::utils::Backoff;
use tokio::time::Instant;

use crate::model::backoff::{self, Doubling, Waits};

/// The waits.
const WAITS: Doubling = Doubling::new(Duration::from_millis(800), Duration::from_secs(15));
/// After this long without a failure the attempt counts as a success: longer than an attempt and its wait can take.
const LASTED: Duration = Duration::from_secs(60);

/// Waits that double with each failure, up to a limit, and reset after a success.
pub(super) struct Pace {
    waits: Waits,
    failed: Option<Instant>,
    /// Events since the last failure: an attempt starts with one, a success adds more.
    events: u32,
}

impl Pace {
    /// Nothing has failed yet.
    pub(super) fn new() -> Pace {
        Pace {
            waits: WAITS.waits(),
            failed: None,
            events: 0,
        }
    }

    /// The wait after a failure at this time, without jitter.
    fn failure(&mut self, now: Instant) -> Duration {
        let has_lasted = self.failed.is_some_and(|failed| now - failed >= LASTED);
        if has_lasted || self.events > 1 {
            self.waits.reset();
        }
        self.failed = Some(now);
        self.events = 0;
        self.waits.fail()
    }
}

impl Iterator for Pace {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.failure(Instant::now());
        // Nodes that lost the API server together return one after the other.
        Some(backoff::spread(wait, RandomState::new().hash_one(0_u8)))
    }
}

impl Backoff for Pace {
    fn reset(&mut self) {
        self.events = self.events.saturating_add(1);
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
        // A list starts each attempt with an event, a watch does not.
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
        let first = WAITS.after(None);
        assert!((first..=first * 3 / 2).contains(&wait), "{wait:?}");
    }
}
