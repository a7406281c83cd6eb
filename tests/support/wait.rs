//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
pub const STEP: Duration = Duration::from_millis(20);

/// Looks until `look` answers `Ok`, and panics at the deadline with what was seen last.
#[track_caller]
pub fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if start.elapsed() > within => {
                panic!(
                    "waited {:.1} s for {what}; last seen: {seen}",
                    within.as_secs_f64()
                )
            }
            Err(_) => std::thread::sleep(STEP),
        }
    }
}
