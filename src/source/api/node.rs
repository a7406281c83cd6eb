//! The Node object of this node, from the API server.

use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::WatchStreamExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use super::pods::first_line;
use crate::model::api::ApiNode;

/// Watches the Node object until canceled. While the API server is unreachable, the last known object stays.
pub async fn run(
    mut clients: watch::Receiver<kube::Client>,
    name: String,
    out: watch::Sender<ApiNode>,
    cancel: CancellationToken,
) {
    loop {
        let client = clients.borrow_and_update().clone();
        let api: kube::Api<Node> = kube::Api::all(client);
        let mut changes = kube::runtime::watcher::watch_object(api, &name)
            .backoff(Pace::new())
            .boxed();
        loop {
            // Every arm may be cancelled: what was not taken is still in the stream.
            let next = tokio::select! {
                () = cancel.cancelled() => return,
                Ok(()) = clients.changed() => break,
                next = changes.next() => next,
            };
            match next {
                Some(Ok(Some(node))) => {
                    out.send_replace(ApiNode::Present(Arc::new(node)));
                }
                Some(Ok(None)) => {
                    out.send_replace(ApiNode::Absent);
                }
                Some(Err(error)) => {
                    tracing::warn!(error = %first_line(&error), "cannot watch the Node object; retrying");
                }
                None => break,
            }
        }
    }
}
