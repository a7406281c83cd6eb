//! Several short calls, one after the other in one thread: starting a thread takes longer than a short call.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout};

use super::{Bulkhead, Place, Stuck, Waits};

/// Calls, each with its owner, which is what it is about, too.
type Queue<W> = VecDeque<(String, W)>;

impl Bulkhead {
    /// Makes a call for each of these owners, in their order, and hands each result to `done`. Each is waited for at most
    /// `patience`. A call that is abandoned keeps its thread and its slot; the calls after it are made in another thread.
    pub async fn run_each<T: Send + 'static, W: FnOnce() -> T + Send + 'static>(
        &self,
        calls: impl IntoIterator<Item = (String, W)>,
        patience: Duration,
        mut done: impl FnMut(&str, Result<T, Stuck>),
    ) {
        let mut calls: Queue<W> = calls.into_iter().collect();
        while let Some((owner, _)) = calls.front() {
            let owner = owner.clone();
            let place = self.place(&owner, &owner, Instant::now() + patience).await;
            match place.and_then(|place| self.begin(place, &mut calls)) {
                Ok(series) => calls = series.follow(patience, &mut done).await,
                // What is missing for this one is missing for those after it.
                Err(stuck @ (Stuck::Full { .. } | Stuck::NoThread(_))) => {
                    for (owner, _) in calls.drain(..) {
                        done(&owner, Err(stuck.clone()));
                    }
                }
                Err(stuck) => {
                    done(&owner, Err(stuck));
                    calls.pop_front();
                }
            }
        }
    }

    /// Begins with the first of these calls, which has been admitted.
    fn begin<T: Send + 'static, W: FnOnce() -> T + Send + 'static>(
        &self,
        place: Place,
        calls: &mut Queue<W>,
    ) -> Result<Series<T, W>, Stuck> {
        let waits = Waits {
            shared: self.0.clone(),
            call: place.call,
        };
        let queue = Arc::new(Mutex::new(Queue::<W>::new()));
        let (answer, answers) = unbounded_channel();
        let next = Arc::clone(&queue);
        let mut held = lock(&queue);
        self.start(move || {
            let next = || lock(&next).pop_front();
            while let Some((owner, work)) = next() {
                let result = place.turn_to(&owner).map(|()| work());
                // Its caller may have been dropped.
                if answer.send(result).is_err() {
                    return;
                }
            }
        })?;
        let unanswered = calls.iter().map(|(owner, _)| owner.clone()).collect();
        *held = std::mem::take(calls);
        drop(held);
        Ok(Series {
            queue,
            unanswered,
            answers,
            waits,
        })
    }
}

/// Calls that a thread makes.
struct Series<T, W> {
    /// Those that it has not begun.
    queue: Arc<Mutex<Queue<W>>>,
    /// The owners of those that it has not answered, the one that it is at first.
    unanswered: VecDeque<String>,
    answers: UnboundedReceiver<Result<T, Stuck>>,
    waits: Waits,
}

impl<T, W> Series<T, W> {
    /// Hands the results on until there are no more, or one is late; gives back the calls that the thread has not begun.
    async fn follow(mut self, patience: Duration, done: &mut impl FnMut(&str, Result<T, Stuck>)) -> Queue<W> {
        let is_late = loop {
            match timeout(patience, self.answers.recv()).await {
                Ok(Some(result)) => {
                    if let Some(owner) = self.unanswered.pop_front() {
                        done(&owner, result);
                    }
                }
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        // From here on the thread begins no call: the one without an answer is the one that it is at.
        let rest = std::mem::take(&mut *lock(&self.queue));
        drop(self.waits);
        while self.unanswered.len() > rest.len()
            && let Some(subject) = self.unanswered.pop_front()
        {
            let result = self.answers.try_recv().unwrap_or_else(|_| match is_late {
                true => Err(Stuck::Late {
                    subject: subject.clone(),
                    patience,
                }),
                false => Err(Stuck::Died(subject.clone())),
            });
            done(&subject, result);
        }
        rest
    }
}

fn lock<W>(queue: &Mutex<Queue<W>>) -> MutexGuard<'_, Queue<W>> {
    queue.lock().expect("no holder of this lock can panic")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc;
    use std::thread::{self, ThreadId};

    use super::super::Limits;
    use super::*;

    const LIMITS: Limits = Limits {
        total: 2,
        per_owner: 1,
    };
    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(200);

    /// Calls that say in which thread they were made. One of an owner with a receiver returns when its sender is gone.
    async fn check(
        bulkhead: &Bulkhead,
        patience: Duration,
        calls: Vec<(&str, Option<mpsc::Receiver<()>>)>,
    ) -> BTreeMap<String, Result<ThreadId, Stuck>> {
        let count = calls.len();
        let calls = calls.into_iter().map(|(owner, held)| {
            let fails = owner == "fails";
            let work = move || {
                assert!(!fails, "a test's own");
                if let Some(held) = held {
                    let _ = held.recv();
                }
                thread::current().id()
            };
            (owner.to_owned(), work)
        });
        let mut results = BTreeMap::new();
        let done = |owner: &str, result| {
            let before = results.insert(owner.to_owned(), result);
            assert!(before.is_none(), "{owner} has two results");
        };
        bulkhead.run_each(calls, patience, done).await;
        assert_eq!(results.len(), count, "{results:?}");
        results
    }

    #[tokio::test]
    async fn calls_share_a_thread_until_one_fails() {
        let bulkhead = Bulkhead::new("test", LIMITS);
        let calls = ["a", "b", "fails", "c", "d"].map(|owner| (owner, None));
        // Printing where a call failed takes longer than some calls may.
        let results = check(&bulkhead, LONG, calls.into()).await;
        let made_in = |owner: &str| results[owner].clone().unwrap();
        assert_eq!(made_in("a"), made_in("b"));
        assert_ne!(made_in("b"), made_in("c"));
        assert_eq!(made_in("c"), made_in("d"));
        assert_eq!(results["fails"], Err(Stuck::Died("fails".to_owned())));
    }

    #[tokio::test]
    async fn calls_share_a_thread_until_one_hangs() {
        /// What all but one of the calls need on a busy machine, too.
        const AMPLE: Duration = Duration::from_secs(3);
        let bulkhead = Bulkhead::new("test", LIMITS);
        let (_hold, held) = mpsc::channel();
        let calls = vec![
            ("a", None),
            ("b", None),
            ("hangs", Some(held)),
            ("c", None),
            ("d", None),
        ];
        let results = check(&bulkhead, AMPLE, calls).await;
        let made_in = |owner: &str| results[owner].clone().unwrap();
        assert_eq!(made_in("a"), made_in("b"));
        assert_ne!(made_in("b"), made_in("c"));
        assert_eq!(made_in("c"), made_in("d"));
        let late = Stuck::Late {
            subject: "hangs".to_owned(),
            patience: AMPLE,
        };
        assert_eq!(results["hangs"], Err(late));
        // It keeps a slot of its own, whether it comes first or later.
        for owners in [["hangs", "a"], ["a", "hangs"]] {
            let results = check(&bulkhead, LONG, owners.map(|owner| (owner, None)).into()).await;
            assert!(results["a"].is_ok(), "{results:?}");
            assert!(
                matches!(&results["hangs"], Err(Stuck::Same { subject }) if subject == "hangs"),
                "{results:?}"
            );
        }
    }

    #[tokio::test]
    async fn none_is_made_while_all_slots_are_taken() {
        let bulkhead = Bulkhead::new("test", LIMITS);
        let mut holds = Vec::new();
        let calls = ["a", "b"].map(|owner| {
            let (hold, held) = mpsc::channel();
            holds.push(hold);
            (owner, Some(held))
        });
        let results = check(&bulkhead, SHORT, calls.into()).await;
        assert!(results.values().all(Result::is_err), "{results:?}");
        let results = check(&bulkhead, SHORT, ["c", "d"].map(|owner| (owner, None)).into()).await;
        let is_full = |result: &Result<ThreadId, Stuck>| matches!(result, Err(Stuck::Full { .. }));
        assert!(results.values().all(is_full), "{results:?}");
    }
}
