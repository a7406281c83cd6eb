//! One watch, with whichever client is the current one.

use futures::{Stream, StreamExt as _};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Hands each item of a watch to `take` until canceled. With another client, and when it ends, the watch begins again. It is
/// the watch's affair to wait after a failure.
pub(super) async fn follow<S: Stream + Unpin>(
    mut clients: watch::Receiver<kube::Client>,
    cancel: CancellationToken,
    begin: impl Fn(kube::Client) -> S,
    mut take: impl FnMut(S::Item),
) {
    loop {
        let mut items = begin(clients.borrow_and_update().clone());
        loop {
            // Every arm may be canceled: an item that was not taken is still in the stream.
            let item = tokio::select! {
                () = cancel.cancelled() => return,
                Ok(()) = clients.changed() => break,
                item = items.next() => item,
            };
            match item {
                Some(item) => take(item),
                None => break,
            }
        }
    }
}
