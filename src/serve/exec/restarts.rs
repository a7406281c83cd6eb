//! How calls get over a restart of containerd.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;

use crate::cri::CriError;
use crate::model::backoff::{Doubling, Waits};

/// How long a containerd that does not answer is called again.
const PATIENCE: Duration = Duration::from_secs(60);
/// The waits before a containerd that does not answer is called again.
const WAITS: Doubling = Doubling::new(Duration::from_millis(50), Duration::from_secs(1));

/// The waits for a containerd that does not answer, as during its restart: the process and its pipes belong to the shim and
/// go on without it.
pub(super) struct Restarts {
    waits: Waits,
    /// When the last call began, and since when calls have failed.
    begun: Instant,
    away_since: Option<Instant>,
}

impl Default for Restarts {
    fn default() -> Restarts {
        Restarts {
            waits: WAITS.waits(),
            begun: Instant::now(),
            away_since: None,
        }
    }
}

impl Restarts {
    /// Waits before the next call. An answer of containerd is not endured, and neither is one that is missing for too
    /// long.
    pub(super) async fn endure(&mut self, status: Status) -> Result<(), Status> {
        if !CriError::from_status("Task", &status).is_unreachable() {
            return Err(status);
        }
        if self.begun.elapsed() > PATIENCE {
            // The call had been under way: another restart.
            (self.waits, self.away_since) = (WAITS.waits(), None);
        }
        if self.away_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return Err(status);
        }
        tokio::time::sleep(self.waits.fail()).await;
        self.begun = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_containerd_that_is_away_is_waited_for_a_while() {
        let mut restarts = Restarts::default();
        let begun = Instant::now();
        let mut calls = 0;
        while restarts.endure(Status::unavailable("gone")).await.is_ok() {
            calls += 1;
        }
        let waited = begun.elapsed();
        assert!(waited >= PATIENCE && waited < PATIENCE * 2, "{waited:?}");
        assert!((50..80).contains(&calls), "{calls}");
    }

    #[tokio::test(start_paused = true)]
    async fn another_restart_has_a_time_of_its_own() {
        let mut restarts = Restarts::default();
        for _ in 0..3 {
            restarts.endure(Status::unavailable("gone")).await.unwrap();
            // The next call is answered for longer than any restart takes.
            tokio::time::sleep(PATIENCE * 2).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_not_endured() {
        let begun = Instant::now();
        let answer = Restarts::default()
            .endure(Status::not_found("no such process"))
            .await;
        assert!(answer.is_err());
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
