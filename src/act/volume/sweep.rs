//! The loops that take down what pods have left on the node. Each is one of its own: no pod's end waits for what another left.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How soon what was busy is looked at again.
const RETRY: Duration = Duration::from_secs(60);

/// What is left after a look at everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing that no pod has.
    Nothing,
    /// What somebody works on, or what could not be taken down.
    Busy,
}

/// Sweeps at the start, whenever a pod has left something, and again after a while what was busy; until canceled.
pub(super) async fn keep_swept<S, W>(
    sweep: impl Fn() -> S,
    some_left: impl Fn() -> W,
    cancel: CancellationToken,
) where
    S: Future<Output = Left>,
    W: Future<Output = ()>,
{
    loop {
        let left = tokio::select! {
            () = cancel.cancelled() => return,
            left = sweep() => left,
        };
        let again = async {
            match left {
                Left::Nothing => std::future::pending().await,
                Left::Busy => tokio::time::sleep(RETRY).await,
            }
        };
        // Either may be dropped: word that was not taken stays.
        tokio::select! {
            () = cancel.cancelled() => return,
            () = some_left() => {}
            () = again => {}
        }
    }
}
