//! Requests from those who ask for a change to the one task that carries it out and answers.

use std::fmt;

use tokio::sync::{mpsc, oneshot};

/// How many requests wait. More wait to be let in.
const WAITING: usize = 16;

/// The task that answers has ended, or ends: the agent is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopping;

/// Where the answer to a request goes. Sending fails if the caller no longer waits.
pub type Answer<D, E> = oneshot::Sender<Result<D, E>>;

/// Asks.
pub struct Asker<R>(mpsc::Sender<R>);

impl<R> Asker<R> {
    /// Sends the request that is made with the place for its answer, and waits for that.
    pub async fn ask<D, E>(&self, request: impl FnOnce(Answer<D, E>) -> R) -> Result<D, E>
    where
        E: From<Stopping>,
    {
        let (answer, answered) = oneshot::channel();
        self.0.send(request(answer)).await.map_err(|_| Stopping)?;
        answered.await.map_err(|_| Stopping)?
    }
}

// Requests need not be cloned for that.
impl<R> Clone for Asker<R> {
    fn clone(&self) -> Asker<R> {
        Asker(self.0.clone())
    }
}

impl<R> fmt::Debug for Asker<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker")
    }
}

/// The two ends.
pub fn asker<R>() -> (Asker<R>, mpsc::Receiver<R>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Asker(sender), receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Failure {
        Refused,
        Stopping,
    }

    impl From<Stopping> for Failure {
        fn from(_: Stopping) -> Failure {
            Failure::Stopping
        }
    }

    #[tokio::test]
    async fn a_request_is_answered_unless_the_one_who_answers_ends() {
        let (asker, mut requests) = asker::<(u8, Answer<u8, Failure>)>();
        let answers = tokio::spawn(async move {
            for _ in 0..2 {
                let (number, answer) = requests.recv().await.unwrap();
                let half = if number % 2 == 0 {
                    Ok(number / 2)
                } else {
                    Err(Failure::Refused)
                };
                answer.send(half).unwrap();
            }
            // The third is taken and not answered, the fourth not taken.
            drop(requests.recv().await);
        });
        for (number, expected) in [
            (4, Ok(2)),
            (5, Err(Failure::Refused)),
            (6, Err(Failure::Stopping)),
            (8, Err(Failure::Stopping)),
        ] {
            assert_eq!(asker.ask(|answer| (number, answer)).await, expected, "{number}");
        }
        answers.await.unwrap();
    }
}
