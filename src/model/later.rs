//! Moments after others.

use std::time::Duration;

use jiff::Timestamp;

/// So long after a moment. What a person or the API server wrote may be longer than time is: then the end of it.
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_duration_ends_with_time() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(later(now, Duration::from_secs(2)).as_second(), 1_800_000_002);
        assert_eq!(later(now, Duration::MAX), Timestamp::MAX);
    }
}
