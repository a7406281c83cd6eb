//! One at a time works on what has a key, or several who do not mind each other; others wait for their turn. What nobody waits
//! for takes no room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many may share a turn: more than there are pods on a node.
const PLACES: u32 = 1 << 16;

/// The turns. Clones share them.
#[derive(Debug)]
pub struct KeyedTurns<K>(Arc<Mutex<BTreeMap<K, Weak<Semaphore>>>>);

impl<K> Clone for KeyedTurns<K> {
    fn clone(&self) -> Self {
        KeyedTurns(self.0.clone())
    }
}

impl<K> Default for KeyedTurns<K> {
    fn default() -> Self {
        KeyedTurns(Arc::default())
    }
}

impl<K: Ord> KeyedTurns<K> {
    /// Waits for the turn; it lasts as long as what is returned.
    pub(super) async fn turn(&self, key: K) -> OwnedSemaphorePermit {
        let taken = self.of(key).acquire_many_owned(PLACES).await;
        taken.expect("the semaphore is never closed")
    }

    /// Waits for a turn that others may share.
    pub(super) async fn share(&self, key: K) -> OwnedSemaphorePermit {
        let taken = self.of(key).acquire_owned().await;
        taken.expect("the semaphore is never closed")
    }

    /// The turn, if nobody has it.
    pub(super) fn try_turn(&self, key: K) -> Option<OwnedSemaphorePermit> {
        self.of(key).try_acquire_many_owned(PLACES).ok()
    }

    fn of(&self, key: K) -> Arc<Semaphore> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = all.get(&key).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(Semaphore::new(PLACES as usize));
        all.insert(key, Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_has_the_turn_of_a_key() {
        let turns = KeyedTurns::default();
        let first = turns.turn("a").await;
        assert!(turns.try_turn("a").is_none());
        assert!(turns.try_turn("b").is_some());
        drop(first);
        assert!(turns.try_turn("a").is_some());
        let shared = (turns.share("a").await, turns.share("a").await);
        assert!(turns.try_turn("a").is_none());
        drop(shared);
        assert!(turns.try_turn("a").is_some());
        turns.of("c");
        assert_eq!(
            turns.0.lock().unwrap().len(),
            1,
            "only the last one is remembered"
        );
    }
}
