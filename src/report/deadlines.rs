//! What loop 2 reports because time has passed.

use std::time::Duration;

use jiff::Timestamp;

use super::{LONGEST_SLEEP, Loop};
use crate::model::pod::{PodName, PodUid};
use crate::status::end_events;

impl Loop {
    /// Reports again what changes with time alone.
    pub(super) fn take_due(&mut self, now: Timestamp) -> bool {
        let due: Vec<PodName> = self
            .due
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(name, _)| name.clone())
            .collect();
        let mut changed = false;
        for name in due {
            self.due.remove(&name);
            changed |= self.report_pod(&name, now);
        }
        changed
    }

    /// Emits that pods have not ended in their time, once for each.
    pub(super) fn take_late(&mut self, now: Timestamp) -> bool {
        let is_over = |_: &PodName, (_, at): &mut (PodUid, Timestamp)| *at <= now;
        let over: Vec<_> = self.late.extract_if(.., is_over).collect();
        let mut changed = false;
        for (name, (uid, _)) in over {
            let observed = self.snapshot.pods.get(&name);
            let event = observed.and_then(|observed| end_events::late(&uid, observed));
            changed |= self.queue_events(&name, &uid, event.into_iter().collect(), now);
        }
        changed
    }

    /// How long nothing changes but by an input.
    pub(super) fn until_next_change(&self, now: Timestamp) -> Duration {
        let late = self.late.values().map(|(_, at)| at);
        let next = self.due.values().chain(late).min();
        let next = next.map(|at| at.duration_since(now));
        next.map_or(LONGEST_SLEEP, |wait| {
            Duration::try_from(wait).unwrap_or(Duration::ZERO)
        })
        .min(LONGEST_SLEEP)
    }
}
