//! The client of a node that has no credentials yet, for tasks that have work to do without an answer.

use hyper::http::{Request, Response};
use kube::client::Body;

use super::clients::Joined;

/// Why it gives no answer.
#[derive(Debug, thiserror::Error)]
#[error("the node had no credentials for its API server when the request was made")]
struct Early;

/// Gives no answer until there are credentials; then every pending request fails, so that it is made again with them.
pub(super) fn client(joined: Joined) -> kube::Client {
    let service = tower::service_fn(move |_: Request<Body>| {
        let mut joined = joined.clone();
        async move {
            let _ = joined.wait_for(Option::is_some).await;
            Err::<Response<Body>, Early>(Early)
        }
    });
    kube::Client::new(service, "default")
}
