//! The agent's tasks, which end together.

use std::time::Duration;

use anyhow::Context as _;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// How long the agent's shutdown waits for a task that reads a directory.
const LEFT_AFTER: Duration = Duration::from_secs(1);

/// How long the tasks may take to end before those that have not are named in the log.
const SLOW: Duration = Duration::from_secs(5);

/// The tasks, each with the name that its end is logged with.
pub(super) struct Tasks {
    set: JoinSet<(&'static str, anyhow::Result<()>)>,
    /// The names of those that have not ended.
    running: Vec<&'static str>,
    pub(super) cancel: CancellationToken,
}

impl Tasks {
    pub(super) fn new(cancel: CancellationToken) -> Tasks {
        Tasks {
            set: JoinSet::new(),
            running: Vec::new(),
            cancel,
        }
    }

    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_fallible(name, async move {
            task.await;
            Ok(())
        });
    }

    pub(super) fn spawn_fallible(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.running.push(name);
        self.set.spawn(async move { (name, task.await) });
    }

    /// Waits for the first task that ends, then ends all others.
    pub(super) async fn finish(mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some(ended) = self.next().await {
            let asked = self.cancel.is_cancelled();
            let (name, outcome) = ended.context("a task of the agent panicked")?;
            // Several tasks may have one name.
            if let Some(place) = self.running.iter().position(|running| *running == name) {
                self.running.swap_remove(place);
            }
            let outcome = match outcome {
                Ok(()) if !asked => Err(anyhow::anyhow!("the task `{name}` ended unexpectedly")),
                outcome => outcome.with_context(|| format!("the task `{name}` failed")),
            };
            result = result.and(outcome);
            self.cancel.cancel();
        }
        result
    }

    /// The next end of a task. While the agent stops, what does not end is named.
    async fn next(&mut self) -> Option<Result<(&'static str, anyhow::Result<()>), JoinError>> {
        let (cancel, running) = (&self.cancel, &self.running);
        let slow = async {
            cancel.cancelled().await;
            tokio::time::sleep(SLOW).await;
            tracing::warn!(?running, "the agent waits for these tasks to end");
            std::future::pending::<()>().await;
        };
        // Cancel-safe: a task that has ended stays in its set.
        tokio::select! {
            ended = self.set.join_next() => ended,
            () = slow => None,
        }
    }

    /// Ends all tasks wherever they wait.
    pub(super) async fn abort(mut self) {
        self.set.shutdown().await;
    }
}

/// Runs something that reads directories, which may hang: at shutdown it is left to its thread.
pub(super) async fn or_left<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    let left = async {
        cancel.cancelled().await;
        tokio::time::sleep(LEFT_AFTER).await;
    };
    // Dropping it is safe: it may be killed at each of its steps anyway.
    tokio::select! {
        biased;
        done = work => Some(done),
        () = left => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_one_task_ends_all_and_is_an_error_unless_it_was_asked_for() {
        for (is_canceled, outcome, want) in [
            (false, Ok(()), "the task `first` ended unexpectedly"),
            (false, Err("disk"), "the task `first` failed: disk"),
            (true, Err("disk"), "the task `first` failed: disk"),
            (true, Ok(()), ""),
        ] {
            let cancel = CancellationToken::new();
            let mut tasks = Tasks::new(cancel.clone());
            let end = cancel.clone();
            tasks.spawn("second", async move { end.cancelled().await });
            if is_canceled {
                cancel.cancel();
            }
            tasks.spawn_fallible(
                "first",
                async move { outcome.map_err(|text| anyhow::anyhow!(text)) },
            );
            let ended = match tasks.finish().await {
                Ok(()) => String::new(),
                Err(error) => format!("{error:#}"),
            };
            assert_eq!(ended, want, "canceled: {is_canceled}, {outcome:?}");
            assert!(cancel.is_cancelled());
        }
    }
}
