//! When to read a container again after an event about it. Pure: the time is a parameter.
//!
//! containerd sends an event when its task changed, and its CRI plugin records the change a little later, after
//! handling the same event and writing a file. So CRI's immediate answer may still be the old state; it is queried
//! again, after ever longer waits, until it shows the state that the event implies or the patience ends. The relist is
//! the safety net.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::cri::events::Kind;
use crate::model::backoff::Doubling;

/// Nothing waits for a start: the starter of the container requests a read itself.
const AFTER_START: Duration = Duration::from_millis(50);
/// An exit is recorded once the task is collected, for which there is another event.
const AFTER_EXIT: Duration = Duration::from_millis(50);
const AFTER_COLLECTION: Duration = Duration::from_millis(4);
const AFTER_OUT_OF_MEMORY: Duration = Duration::from_millis(5);
/// An unknown id: its owner is about to request a read; otherwise it is looked up.
const BEFORE_LOOKUP: Duration = Duration::from_millis(50);
/// The waits between reads that do not show the state yet.
const WAITS: Doubling = Doubling::new(AFTER_COLLECTION, Duration::from_millis(500));
const PATIENCE: Duration = Duration::from_secs(5);

/// The current state of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// No pod is known to have it.
    Absent,
    /// Created, not started.
    Created,
    /// It runs.
    Alive,
    /// It ended.
    Ended,
    /// It ended, and the runtime reports that it ran out of memory.
    OutOfMemory,
}

/// The state that an event implies for an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Expected {
    Begun,
    Ended,
    OutOfMemory,
    Absent,
}

impl Expected {
    fn is_met_by(self, seen: Seen) -> bool {
        match self {
            Expected::Begun => !matches!(seen, Seen::Created | Seen::Absent),
            Expected::Ended => matches!(seen, Seen::Ended | Seen::OutOfMemory),
            // A running one may be about to end, or the kernel killed a process that it does not need.
            Expected::OutOfMemory => seen == Seen::OutOfMemory,
            Expected::Absent => seen == Seen::Absent,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Look {
    expected: Expected,
    at: Instant,
    wait: Duration,
    until: Instant,
}

/// The ids to read, and when.
#[derive(Debug, Default)]
pub(super) struct Due {
    looks: HashMap<String, Look>,
}

impl Due {
    /// Records an event. Of several about one id, the last event and the earliest time count.
    pub(super) fn note(&mut self, id: String, kind: Kind, seen: Seen, now: Instant) {
        let (expected, wait) = match kind {
            Kind::Started => (Expected::Begun, AFTER_START),
            Kind::Exited => (Expected::Ended, AFTER_EXIT),
            Kind::Collected => (Expected::Ended, AFTER_COLLECTION),
            Kind::OutOfMemory => (Expected::OutOfMemory, AFTER_OUT_OF_MEMORY),
            Kind::Removed => (Expected::Absent, AFTER_COLLECTION),
        };
        // What CRI already shows is not queried again; only the reason of an exit may still change.
        if expected.is_met_by(seen) {
            return;
        }
        let wait = if seen == Seen::Absent {
            wait.max(BEFORE_LOOKUP)
        } else {
            wait
        };
        let new = Look {
            expected,
            at: now + wait,
            wait,
            until: now + PATIENCE,
        };
        let look = self.looks.entry(id).or_insert(new);
        look.expected = look.expected.max(expected);
        look.until = new.until;
        look.at = look.at.min(new.at);
        look.wait = look.wait.min(new.wait);
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.looks.values().map(|look| look.at).min()
    }

    /// The ids that are due.
    pub(super) fn at(&self, now: Instant) -> Vec<String> {
        self.looks
            .iter()
            .filter(|(_, look)| look.at <= now)
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Whether the status of an ended container may still change though its state does not.
    pub(super) fn doubts_reason(&self, id: &str) -> bool {
        self.looks
            .get(id)
            .is_some_and(|look| look.expected == Expected::OutOfMemory)
    }

    /// After a read: drops what is as expected, or has not become so for too long; delays what was due; schedules an
    /// early look at ids that were unknown and are known now. `read` is when the read began: it covers what was due by
    /// then.
    pub(super) fn settle(&mut self, seen: impl Fn(&str) -> Seen, read: Instant, now: Instant) {
        self.looks.retain(|id, look| {
            let seen = seen(id);
            if look.expected.is_met_by(seen) || now >= look.until {
                return false;
            }
            if look.at <= read {
                // Looked up and unknown: it belongs to no pod, or is so new that its creator will request a read.
                if seen == Seen::Absent {
                    return false;
                }
                look.wait = WAITS.after(Some(look.wait));
                look.at = now + look.wait;
            } else if seen != Seen::Absent && look.expected != Expected::Begun {
                look.at = look.at.min(now + AFTER_EXIT);
            }
            true
        });
    }

    /// Everything is about to be read again.
    pub(super) fn clear(&mut self) {
        self.looks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Notes one event at time 0 and returns when the id is looked at while it is seen as `then`.
    fn check(kind: Kind, first: Seen, then: Seen, want: &[u64]) {
        let start = Instant::now();
        let mut due = Due::default();
        due.note("c1".into(), kind, first, start);
        let mut got = Vec::new();
        while let Some(at) = due.next() {
            assert_eq!(due.at(at), ["c1"]);
            got.push(u64::try_from((at - start).as_millis()).unwrap());
            due.settle(|_| then, at, at);
        }
        assert_eq!(
            got.get(..want.len()),
            Some(want),
            "{kind:?} {first:?} {then:?}: {got:?}"
        );
        assert!(got.last().is_none_or(|last| *last <= 5500), "{got:?}");
    }

    #[test]
    fn an_exit_is_looked_for_until_it_is_told() {
        check(Kind::Collected, Seen::Alive, Seen::Ended, &[4]);
        check(Kind::Exited, Seen::Alive, Seen::Ended, &[50]);
        check(Kind::Collected, Seen::Alive, Seen::Alive, &[4, 12, 28, 60, 124]);
        check(Kind::Exited, Seen::Ended, Seen::Ended, &[]);
        check(Kind::Removed, Seen::Ended, Seen::Absent, &[4]);
        check(Kind::Removed, Seen::Absent, Seen::Absent, &[]);
    }

    #[test]
    fn a_start_can_wait() {
        check(Kind::Started, Seen::Created, Seen::Alive, &[50]);
        check(Kind::Started, Seen::Alive, Seen::Alive, &[]);
    }

    #[test]
    fn an_unknown_id_is_looked_up_once() {
        check(Kind::Exited, Seen::Absent, Seen::Absent, &[50]);
        check(Kind::Started, Seen::Absent, Seen::Absent, &[50]);
        check(Kind::Started, Seen::Absent, Seen::Alive, &[50]);
        check(Kind::Exited, Seen::Absent, Seen::Alive, &[50, 150]);
    }

    #[test]
    fn a_lack_of_memory_is_told_by_the_reason() {
        check(Kind::OutOfMemory, Seen::Ended, Seen::OutOfMemory, &[5]);
        check(Kind::OutOfMemory, Seen::Alive, Seen::Alive, &[5, 15, 35]);
        check(Kind::OutOfMemory, Seen::OutOfMemory, Seen::OutOfMemory, &[]);
        check(Kind::OutOfMemory, Seen::Ended, Seen::Ended, &[5, 15, 35]);
    }

    #[test]
    fn several_events_make_one_look() {
        let start = Instant::now();
        let mut due = Due::default();
        due.note("c1".into(), Kind::Started, Seen::Created, start);
        due.note("c1".into(), Kind::Exited, Seen::Created, start + ms(1));
        due.note("c1".into(), Kind::Collected, Seen::Created, start + ms(2));
        assert_eq!(due.next(), Some(start + ms(6)));
        due.settle(|_| Seen::Alive, start + ms(6), start + ms(6));
        assert_eq!(due.next(), Some(start + ms(14)));
        due.settle(|_| Seen::Ended, start + ms(14), start + ms(14));
        assert_eq!(due.next(), None);
    }

    #[test]
    fn an_id_that_became_known_is_looked_at_soon() {
        let start = Instant::now();
        let mut due = Due::default();
        due.note("c1".into(), Kind::Exited, Seen::Absent, start);
        due.settle(|_| Seen::Alive, start + ms(10), start + ms(10));
        assert_eq!(
            due.next(),
            Some(start + ms(50)),
            "it was due before that would be"
        );
        due.settle(|_| Seen::Ended, start + ms(12), start + ms(12));
        assert_eq!(due.next(), None);
    }
}
