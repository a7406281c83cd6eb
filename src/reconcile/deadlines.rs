//! When keys are planned again though nothing happens.

use std::time::Duration;

use jiff::Timestamp;

use super::{Key, LONGEST_SLEEP, Loop};

impl Loop {
    /// Marks the keys whose time has come.
    pub(super) fn due(&mut self, now: Timestamp) {
        let due: Vec<Key> = self
            .deadlines
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.deadlines.remove(&key);
            self.dirty.insert(key);
        }
    }

    /// How long nothing has to be done, unless something happens.
    pub(super) fn until_next_deadline(&self, now: Timestamp) -> Duration {
        if self.dirty.contains(&Key::Node) {
            // Its plan was carried out, and marked it again.
            return Duration::ZERO;
        }
        let next = self.deadlines.values().copied().min();
        let next = next.map(|at| at.duration_since(now));
        let wait = next.map_or(LONGEST_SLEEP, |wait| {
            Duration::try_from(wait).unwrap_or(Duration::ZERO)
        });
        wait.min(LONGEST_SLEEP)
    }
}
