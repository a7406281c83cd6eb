//! The client of a node that has no credentials yet, for those who have something to do without an answer.

use hyper::http::{Request, Response};
use kube::client::Body;

use super::clients::Joined;

/// Why it gives no answer.
#[derive(Debug, thiserror::Error)]
#[error("the node had no credentials for its API server when it was asked")]
struct Early;

/// Silent until there are credentials, and then every request has failed, so that it is made anew with them.
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
