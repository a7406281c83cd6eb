//! Cached answers with a time to live, limited in number.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The maximum number of cached answers.
const MOST: usize = 4096;

/// Answers by question.
#[derive(Debug)]
pub(super) struct TtlCache<K, V>(HashMap<K, (Instant, V)>);

impl<K, V> Default for TtlCache<K, V> {
    fn default() -> Self {
        TtlCache(HashMap::new())
    }
}

impl<K: Hash + Eq, V: Clone> TtlCache<K, V> {
    /// The answer, if it is still valid.
    pub(super) fn get(&self, key: &K, now: Instant) -> Option<V> {
        let (until, value) = self.0.get(key)?;
        (*until > now).then(|| value.clone())
    }

    /// Caches an answer for this long.
    pub(super) fn put(&mut self, key: K, value: V, ttl: Duration, now: Instant) {
        if self.0.len() >= MOST {
            self.0.retain(|_, (until, _)| *until > now);
        }
        // The cache is full of valid answers. Dropping them costs only new requests.
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(key, (now + ttl, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_hold_for_their_time() {
        let now = Instant::now();
        let at = |second| now + Duration::from_secs(second);
        let mut cache = TtlCache::default();
        cache.put("a", 1, Duration::from_secs(10), now);
        assert_eq!(cache.get(&"a", at(9)), Some(1));
        assert_eq!(cache.get(&"a", at(10)), None);
        assert_eq!(cache.get(&"b", now), None);
    }

    #[test]
    fn there_are_never_too_many() {
        let now = Instant::now();
        let mut cache = TtlCache::default();
        for number in 0..3 * MOST {
            cache.put(number, (), Duration::from_secs(10), now);
        }
        assert!(cache.0.len() <= MOST);
        assert_eq!(cache.get(&(3 * MOST - 1), now), Some(()));
    }
}
