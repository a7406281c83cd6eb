//! Waits that double: the wait before each further attempt is twice the one before, up to a limit. Pure: the caller has the
//! clock, and says how long the last wait was.

use std::time::Duration;

/// How the waits of something that is retried grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubling {
    first: Duration,
    longest: Duration,
}

impl Doubling {
    /// From the first wait to the longest.
    pub const fn new(first: Duration, longest: Duration) -> Doubling {
        Doubling { first, longest }
    }

    /// The wait after one more failure; `last` is the one after the failure before, `None` for the first.
    pub fn after(self, last: Option<Duration>) -> Duration {
        let wait = last.map_or(self.first, |last| last.saturating_mul(2));
        wait.min(self.longest)
    }

    /// The waits of one thing, from the first on.
    pub const fn waits(self) -> Waits {
        Waits {
            growth: self,
            last: None,
        }
    }
}

/// The waits of one thing that is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    growth: Doubling,
    last: Option<Duration>,
}

impl Waits {
    /// The wait after one more failure.
    pub fn fail(&mut self) -> Duration {
        let wait = self.growth.after(self.last);
        self.last = Some(wait);
        wait
    }

    /// It succeeded: the next failure is the first one again.
    pub fn reset(&mut self) {
        self.last = None;
    }
}

/// The wait, in milliseconds, and up to half of it more, so that clients that failed together do not retry together.
/// `salt` differs between those who wait.
pub fn spread(wait: Duration, salt: u64) -> Duration {
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    wait.saturating_add(Duration::from_millis(salt % (millis / 2).saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROWTH: Doubling = Doubling::new(Duration::from_millis(200), Duration::from_secs(15));

    #[test]
    fn waits_double_up_to_a_limit_and_begin_anew_after_a_success() {
        let mut waits = GROWTH.waits();
        let mut next = |times: usize| -> Vec<u128> { (0..times).map(|_| waits.fail().as_millis()).collect() };
        assert_eq!(next(9), [200, 400, 800, 1600, 3200, 6400, 12800, 15000, 15000]);
        waits.reset();
        assert_eq!(waits.fail(), Duration::from_millis(200));
    }

    #[test]
    fn a_limit_below_the_first_wait_holds_and_nothing_overflows() {
        let low = Doubling::new(Duration::from_secs(10), Duration::from_secs(1));
        assert_eq!(low.after(None), Duration::from_secs(1));
        let high = Doubling::new(Duration::from_secs(1), Duration::MAX);
        assert_eq!(high.after(Some(Duration::MAX)), Duration::MAX);
        assert_eq!(spread(Duration::MAX, u64::MAX), Duration::MAX);
    }

    proptest::proptest! {
        #[test]
        fn a_spread_wait_is_no_shorter_and_at_most_half_longer(millis in 0u64..100_000, salt: u64) {
            let wait = Duration::from_millis(millis);
            let spread = spread(wait, salt);
            proptest::prop_assert!(wait <= spread && spread <= wait * 3 / 2);
        }
    }
}
