//! Requests to add an ephemeral container to a static pod, from those who ask (`gantry debug`) to the source that adds.

use k8s_openapi::api::core::v1::EphemeralContainer;
use tokio::sync::mpsc;

use super::asking::{Answer, Asker, Stopping, asker};
use super::pod_name::PodName;
use super::problem::Problem;

/// Why a container was not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdded {
    /// There is no such pod.
    #[error("pods \"{0}\" not found")]
    NoPod(PodName),
    /// The pod is one of the API server's.
    #[error("pod {0} is not a static pod: add the container through the API server, with `kubectl debug`")]
    OfApi(PodName),
    /// The container is wrong.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
    /// The addition cannot be saved, so a restarted agent would not know the container.
    #[error("cannot save the container in the agent's state directory: {0}")]
    NotSaved(String),
    /// The agent is stopping.
    #[error("gantry is stopping")]
    Stopping,
}

impl From<Stopping> for NotAdded {
    fn from(_: Stopping) -> NotAdded {
        NotAdded::Stopping
    }
}

fn list(problems: &[Problem]) -> String {
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    problems.join("; ")
}

/// A request.
#[derive(Debug)]
pub struct AddRequest {
    /// The pod.
    pub pod: PodName,
    /// What to add.
    pub container: EphemeralContainer,
    /// Where the answer goes.
    pub answer: Answer<(), NotAdded>,
}

/// Adds containers.
#[derive(Debug, Clone)]
pub struct Adder(Asker<AddRequest>);

impl Adder {
    /// Adds an ephemeral container to a static pod. The agent starts it soon after; it is never removed while its pod is
    /// there, and never started twice.
    pub async fn add(&self, pod: PodName, container: EphemeralContainer) -> Result<(), NotAdded> {
        let request = |answer| AddRequest {
            pod,
            container,
            answer,
        };
        self.0.ask(request).await
    }
}

/// The requests, for the one who adds.
#[derive(Debug)]
pub struct AddRequests(pub mpsc::Receiver<AddRequest>);

/// The two ends.
pub fn adder() -> (Adder, AddRequests) {
    let (asker, requests) = asker();
    (Adder(asker), AddRequests(requests))
}
