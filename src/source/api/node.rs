//! The Node object of this node, from the API server.

use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::follow::follow;
use super::pace::Pace;
use super::pods::first_line;
use crate::model::api::ApiNode;

/// Watches the Node object until canceled. While the API server is unreachable, the last known object stays.
pub async fn run(
    clients: watch::Receiver<kube::Client>,
    name: String,
    out: watch::Sender<ApiNode>,
    cancel: CancellationToken,
) {
    let watch = |client| {
        let api: kube::Api<Node> = kube::Api::all(client);
        watch_object(api, &name).backoff(Pace::new()).boxed()
    };
    let take = |next| match next {
        Ok(Some(node)) => drop(out.send_replace(ApiNode::Present(Arc::new(node)))),
        Ok(None) => drop(out.send_replace(ApiNode::Absent)),
        Err(error) => {
            tracing::warn!(error = %first_line(&error), "cannot watch the Node object; retrying");
        }
    };
    follow(clients, cancel, watch, take).await;
}
