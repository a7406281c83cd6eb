//! How often something may happen: so many times at once, and then so many a second.

use std::time::Duration;

/// Tokens that come as fractions: so much less than one counts as one.
const ROUNDING: f64 = 1e-9;

/// A bucket of tokens that is full at the start and is refilled over time (`golang.org/x/time/rate`).
#[derive(Debug, Clone)]
pub struct TokenBucket {
    most: f64,
    per_second: f64,
    tokens: f64,
    at: Duration,
}

impl TokenBucket {
    /// A full one of so many tokens, of which so many come in a second. `now` is what the caller's clock shows, counted
    /// from any moment that stays the same.
    pub fn new(most: f64, per_second: f64, now: Duration) -> TokenBucket {
        TokenBucket {
            most,
            per_second,
            tokens: most,
            at: now,
        }
    }

    /// Takes a token; if there is none, returns how long it is until there is one. A clock that goes back brings none.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.most);
        self.at = now;
        if self.tokens < 1.0 - ROUNDING {
            let wait = (1.0 - self.tokens) / self.per_second;
            return Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX));
        }
        self.tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_tells_when_its_next_token_comes() {
        let at = Duration::from_secs;
        let mut bucket = TokenBucket::new(2.0, 0.5, at(0));
        assert_eq!(bucket.take(at(0)), Ok(()));
        assert_eq!(bucket.take(at(0)), Ok(()));
        assert_eq!(bucket.take(at(0)), Err(at(2)));
        assert_eq!(bucket.take(at(1)), Err(at(1)));
        assert_eq!(bucket.take(at(2)), Ok(()));
    }

    #[test]
    fn a_clock_that_goes_back_brings_no_token_and_takes_none() {
        let at = Duration::from_secs;
        let mut bucket = TokenBucket::new(1.0, 1.0, at(100));
        assert_eq!(bucket.take(at(100)), Ok(()));
        assert_eq!(bucket.take(at(50)), Err(at(1)));
        assert_eq!(bucket.take(at(51)), Ok(()));
    }

    #[test]
    fn a_bucket_that_is_never_refilled_has_its_next_token_never() {
        let mut bucket = TokenBucket::new(1.0, 0.0, Duration::ZERO);
        assert_eq!(bucket.take(Duration::ZERO), Ok(()));
        assert_eq!(bucket.take(Duration::from_secs(1)), Err(Duration::MAX));
    }
}
