//! Requests to restart a static pod, from those who ask (`kubectl delete pod`) to the source that has its next
//! incarnation.

use std::time::Duration;

use tokio::sync::mpsc;

use super::asking::{Answer, Asker, Stopping, asker};
use super::pod_name::PodName;

/// Why a pod is not restarted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRestarted {
    /// There is no such static pod.
    #[error("pods \"{0}\" not found")]
    NoPod(PodName),
    /// The agent is stopping.
    #[error("gantry is stopping")]
    Stopping,
}

impl From<Stopping> for NotRestarted {
    fn from(_: Stopping) -> NotRestarted {
        NotRestarted::Stopping
    }
}

/// What becomes of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// It ends, and starts again.
    Again,
    /// It is ending already, to start again; only the grace period may become shorter.
    Hasten,
}

/// A request.
#[derive(Debug)]
pub struct RestartRequest {
    /// The pod.
    pub pod: PodName,
    /// What becomes of it.
    pub restart: Restart,
    /// The grace period; `None`: the pod's own.
    pub grace: Option<Duration>,
    /// Where the answer goes.
    pub answer: Answer<(), NotRestarted>,
}

/// Restarts pods.
#[derive(Debug, Clone)]
pub struct Restarter(Asker<RestartRequest>);

impl Restarter {
    /// Restarts a static pod: everything of it ends in order, within the grace period, and its manifest makes it again. An
    /// agent that ends before the pod began to end has not restarted it; afterwards the next agent finishes what was
    /// begun.
    pub async fn restart(
        &self,
        pod: PodName,
        restart: Restart,
        grace: Option<Duration>,
    ) -> Result<(), NotRestarted> {
        let request = |answer| RestartRequest {
            pod,
            restart,
            grace,
            answer,
        };
        self.0.ask(request).await
    }
}

/// The requests, for the one who restarts.
#[derive(Debug)]
pub struct RestartRequests(pub mpsc::Receiver<RestartRequest>);

/// The two ends.
pub fn restarter() -> (Restarter, RestartRequests) {
    let (asker, requests) = asker();
    (Restarter(asker), RestartRequests(requests))
}
