//! The one task that owns the objects and their versions. It compares when a client asks, and while one watches: nothing is
//! compared otherwise.

use std::future::pending;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::gather::Gather;
use super::store::State;
use crate::model::pod::Desired;
use crate::model::report::PodsReport;
use crate::serve::answer::Refusal;

/// How many requests may wait for the task. More wait to be let in.
const WAITING: usize = 64;

/// What the objects are made from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The reported pods and their events.
    pub pods: watch::Receiver<Arc<PodsReport>>,
    /// The reported Node.
    pub node: watch::Receiver<Arc<Node>>,
    /// What the sources want: the ConfigMaps and Secrets of the manifests directory are in it.
    pub desired: watch::Receiver<Arc<Desired>>,
}

impl Sources {
    /// Completes when one of them has changed.
    async fn changed(&mut self) {
        async fn one<T>(value: &mut watch::Receiver<T>) {
            // The writer is gone when the agent stops.
            if value.changed().await.is_err() {
                pending::<()>().await;
            }
        }
        tokio::select! {
            // A change that is not waited for to the end is seen at the next call.
            () = one(&mut self.pods) => {}
            () = one(&mut self.node) => {}
            () = one(&mut self.desired) => {}
        }
    }
}

/// The state, now and as it changes.
type Followed = watch::Receiver<Arc<State>>;

/// Asks the task.
#[derive(Debug, Clone)]
pub(super) struct Feed(mpsc::Sender<oneshot::Sender<Followed>>);

/// The requests of a task that is still to run.
#[derive(Debug)]
pub(super) struct Requests(mpsc::Receiver<oneshot::Sender<Followed>>);

/// The two ends.
pub(super) fn requests() -> (Feed, Requests) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Feed(sender), Requests(receiver))
}

impl Feed {
    /// The state of this moment.
    pub(super) async fn current(&self) -> Result<Arc<State>, Refusal> {
        Ok(self.follow().await?.borrow().clone())
    }

    /// The state of this moment and, as long as the receiver lives, of those that follow.
    pub(super) async fn follow(&self) -> Result<Followed, Refusal> {
        let stopping = || Refusal::Internal("the agent is stopping".to_owned());
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())
    }
}

/// Owns the state until canceled.
pub(super) async fn run(mut sources: Sources, mut requests: Requests, cancel: CancellationToken) {
    let start = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0);
    let state = watch::Sender::new(Arc::new(State::starting(start)));
    let mut gather = Gather::default();
    loop {
        let asked = tokio::select! {
            // Cancel-safe.
            asked = requests.0.recv() => match asked {
                Some(answer) => Some(answer),
                None => return,
            },
            // See there. Once the last client has left, one more change wakes the task.
            () = sources.changed(), if state.receiver_count() > 0 => None,
            () = cancel.cancelled() => return,
        };
        refresh(&mut sources, &mut gather, &state);
        if let Some(answer) = asked {
            // It fails if the client has left.
            let _ = answer.send(state.subscribe());
        }
    }
}

fn refresh(sources: &mut Sources, gather: &mut Gather, state: &watch::Sender<Arc<State>>) {
    let report = sources.pods.borrow_and_update().clone();
    let node = sources.node.borrow_and_update().clone();
    let desired = sources.desired.borrow_and_update().clone();
    let files = desired.files.as_deref();
    let objects = gather.objects(&report, &node, files);
    let stated = files.map(|files| files.stated.clone()).unwrap_or_default();
    state.send_if_modified(|state| {
        let (is_same, states_same) = (state.is(&objects), state.states(&stated));
        if !is_same {
            Arc::make_mut(state).replace(objects);
        }
        if !states_same {
            Arc::make_mut(state).restate(stated);
        }
        !is_same || !states_same
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::fixture;

    #[tokio::test]
    async fn versions_grow_with_changes_alone() {
        let changing = fixture::changing();
        let (_desired, desired) = watch::channel(Arc::default());
        let sources = Sources {
            pods: changing.world.pods.clone(),
            node: changing.world.node.clone(),
            desired,
        };
        let (feed, requests) = requests();
        tokio::spawn(run(sources, requests, CancellationToken::new()));
        let first = feed.current().await.unwrap();
        assert_eq!(feed.current().await.unwrap().version, first.version);

        let mut followed = feed.follow().await.unwrap();
        changing.pods.send_modify(|report| {
            Arc::make_mut(report).pods.clear();
        });
        followed.changed().await.unwrap();
        let second = followed.borrow().clone();
        assert_eq!(second.version, first.version + 1);
        let change = second.since(first.version).unwrap().next().unwrap();
        assert!(change.before.is_some() && change.after.is_none());
        // A report with the same content changes nothing.
        changing.pods.send_modify(|_| {});
        assert_eq!(feed.current().await.unwrap().version, second.version);
    }
}
