//! Which event makes a new Event, which one is counted in an old one, and which is not worth publishing: the rules of
//! `client-go/tools/record/events_cache.go`, so that a container that fails for ever does not fill the cluster's store.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::model::event::{About, Event, EventType};
use crate::model::token_bucket::TokenBucket;

/// How many different messages with one reason about one object are published separately within [`SIMILAR_WITHIN`]; all
/// further ones are counted in one Event.
const MOST_SIMILAR: usize = 10;
const SIMILAR_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// The prefix of such a message.
const COMBINED: &str = "(combined from similar events): ";
/// How many Events about one object may be published at once, and after how many seconds one more may follow.
const SPAM_BURST: f64 = 25.0;
const SPAM_EVERY: f64 = 300.0;
/// How many entries of each kind are remembered.
const MOST_REMEMBERED: usize = 4096;

/// What to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventWrite {
    /// The key under which it is counted next time.
    pub(super) key: Key,
    /// The message of the Event.
    pub(super) message: String,
    /// When it first happened.
    pub(super) first: Timestamp,
    /// How often, including this time.
    pub(super) count: u32,
    /// The Event that exists already.
    pub(super) name: Option<String>,
}

/// What makes two events the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    about: About,
    kind: EventType,
    reason: String,
    /// `None`: any message.
    message: Option<String>,
}

/// A published Event.
#[derive(Debug, Clone)]
struct PastEvent {
    name: String,
    first: Timestamp,
    count: u32,
}

/// Different messages of one reason.
#[derive(Default)]
struct Similar {
    messages: BTreeSet<String>,
    last: Timestamp,
}

/// The memory of published Events.
#[derive(Default)]
pub(super) struct Correlator {
    published: Remembered<Key, PastEvent>,
    similar: Remembered<Key, Similar>,
    buckets: Remembered<(About, EventType), TokenBucket>,
}

impl Correlator {
    /// How to write an event; `None`: not at all, there were too many about this object.
    pub(super) fn correlate(&mut self, event: &Event, now: Timestamp) -> Option<EventWrite> {
        let (key, message, first) = self.aggregate(event, now);
        let former = self.published.get(&key, now).cloned();
        let clock = Duration::try_from(now.as_duration()).unwrap_or_default();
        let bucket = self
            .buckets
            .get_or_insert((whole(&event.about), event.kind), now, || {
                TokenBucket::new(SPAM_BURST, 1.0 / SPAM_EVERY, clock)
            });
        let passes = bucket.take(clock).is_ok();
        let count = former.as_ref().map_or(1, |former| former.count.saturating_add(1));
        if let Some(former) = former {
            // Counted whether it is published or not.
            self.remember(&key, former.name, former.first, count, now);
        }
        let former = self.published.get(&key, now).cloned();
        passes.then(|| EventWrite {
            key,
            message,
            first: former.as_ref().map_or(first, |former| former.first),
            count,
            name: former.map(|former| former.name),
        })
    }

    /// Records the Event that was created or counted up.
    pub(super) fn published(&mut self, event_write: &EventWrite, name: &str, now: Timestamp) {
        self.remember(
            &event_write.key,
            name.to_owned(),
            event_write.first,
            event_write.count,
            now,
        );
    }

    fn remember(&mut self, key: &Key, name: String, first: Timestamp, count: u32, now: Timestamp) {
        self.published
            .insert(key.clone(), PastEvent { name, first, count }, now);
    }

    fn aggregate(&mut self, event: &Event, now: Timestamp) -> (Key, String, Timestamp) {
        let group = Key {
            about: whole(&event.about),
            kind: event.kind,
            reason: event.reason.clone(),
            message: None,
        };
        let similar = self.similar.get_or_insert(group.clone(), now, Similar::default);
        if now.duration_since(similar.last) > SIMILAR_WITHIN {
            similar.messages.clear();
        }
        similar.messages.insert(event.message.clone());
        similar.last = now;
        if similar.messages.len() < MOST_SIMILAR {
            let key = Key {
                about: event.about.clone(),
                message: Some(event.message.clone()),
                ..group
            };
            return (key, event.message.clone(), event.at);
        }
        // Any of them may be dropped for the next.
        similar.messages.pop_first();
        (group, format!("{COMBINED}{}", event.message), now)
    }
}

/// The object, regardless of the part of it.
fn whole(about: &About) -> About {
    match about {
        About::Pod(name, uid, _) => About::Pod(name.clone(), uid.clone(), None),
        About::Node => About::Node,
    }
}

/// A map that drops the least recently used entry when it is full.
struct Remembered<K, V>(HashMap<K, (Timestamp, V)>);

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Remembered(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone, V> Remembered<K, V> {
    fn get(&mut self, key: &K, now: Timestamp) -> Option<&V> {
        let (used, value) = self.0.get_mut(key)?;
        *used = now;
        Some(value)
    }

    fn get_or_insert(&mut self, key: K, now: Timestamp, make: impl FnOnce() -> V) -> &mut V {
        self.make_room();
        let (used, value) = self.0.entry(key).or_insert_with(|| (now, make()));
        *used = now;
        value
    }

    fn insert(&mut self, key: K, value: V, now: Timestamp) {
        self.make_room();
        self.0.insert(key, (now, value));
    }

    /// Drops the older half at once, so that a full map is not searched at each insertion.
    fn make_room(&mut self) {
        if self.0.len() < MOST_REMEMBERED {
            return;
        }
        let mut times: Vec<Timestamp> = self.0.values().map(|(used, _)| *used).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        self.0.retain(|_, (used, _)| *used > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::{PodName, PodUid};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn about(pod: &str, part: &str) -> About {
        let name = PodName::new("default", pod);
        About::Pod(name, PodUid(pod.into()), Some(part.to_owned()))
    }

    fn event(pod: &str, reason: &str, message: &str, second: i64) -> Event {
        Event {
            about: about(pod, "spec.containers{c}"),
            kind: EventType::Warning,
            reason: reason.into(),
            message: message.into(),
            annotations: Default::default(),
            at: at(second),
        }
    }

    /// How one more event is written, as `count message [name]`.
    fn written(correlator: &mut Correlator, event: &Event) -> Option<String> {
        let now = event.at;
        let event_write = correlator.correlate(event, now)?;
        let name = event_write.name.clone().unwrap_or_else(|| format!("e{now}"));
        correlator.published(&event_write, &name, now);
        let known = if event_write.name.is_some() {
            "again"
        } else {
            "new"
        };
        Some(format!("{known} {} {}", event_write.count, event_write.message))
    }

    #[test]
    fn the_same_is_counted_in_one_event() {
        let mut correlator = Correlator::default();
        let mut publish = |message, second| written(&mut correlator, &event("p", "BackOff", message, second));
        assert_eq!(publish("a", 0).unwrap(), "new 1 a");
        assert_eq!(publish("a", 5).unwrap(), "again 2 a");
        assert_eq!(publish("b", 6).unwrap(), "new 1 b");
        assert_eq!(publish("a", 7).unwrap(), "again 3 a");
    }

    #[test]
    fn the_first_time_stays() {
        let mut correlator = Correlator::default();
        written(&mut correlator, &event("p", "BackOff", "a", 0));
        let event_write = correlator
            .correlate(&event("p", "BackOff", "a", 9), at(9))
            .unwrap();
        assert_eq!(
            (event_write.first, event_write.name),
            (at(0), Some(format!("e{}", at(0))))
        );
    }

    #[test]
    fn the_tenth_message_of_a_reason_is_combined_with_what_follows() {
        let mut correlator = Correlator::default();
        let mut publish = |number: i64, second| {
            written(
                &mut correlator,
                &event("p", "Unhealthy", &number.to_string(), second),
            )
            .unwrap()
        };
        for number in 0..9 {
            assert_eq!(publish(number, number), format!("new 1 {number}"));
        }
        assert_eq!(publish(9, 9), format!("new 1 {COMBINED}9"));
        assert_eq!(publish(10, 10), format!("again 2 {COMBINED}10"));
        // After ten quiet minutes, messages are published separately again.
        assert_eq!(publish(11, 700), "new 1 11");
    }

    #[test]
    fn too_much_about_one_object_is_not_told_and_one_more_every_five_minutes_is() {
        let mut correlator = Correlator::default();
        let mut publish = |pod: &str, second| written(&mut correlator, &event(pod, "BackOff", "a", second));
        for _ in 0..25 {
            assert!(publish("p", 0).is_some());
        }
        assert_eq!(publish("p", 1), None);
        assert!(publish("other", 1).is_some());
        // An event that was not published is counted nevertheless.
        assert_eq!(publish("p", 301).unwrap(), "again 27 a");
        assert_eq!(publish("p", 302), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut correlator = Correlator::default();
        for number in 0..2 * i64::try_from(MOST_REMEMBERED).unwrap() {
            written(&mut correlator, &event(&format!("p{number}"), "r", "m", number));
        }
        assert!(correlator.published.0.len() <= MOST_REMEMBERED);
        assert!(correlator.similar.0.len() <= MOST_REMEMBERED);
        assert!(correlator.buckets.0.len() <= MOST_REMEMBERED);
    }
}
