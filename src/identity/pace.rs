//! How many requests are sent to the API server: `kubeAPIQPS` a second, after `kubeAPIBurst` at once. What proves that the
//! node lives does not wait, and Events have a limit of their own, as in the kubelet (`cmd/kubelet/app/server.go`).

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::http::Request;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::model::token_bucket::TokenBucket;

/// What client-go takes for 0 (`DefaultQPS` and `DefaultBurst` in `client-go/rest`).
const USUAL: (u32, u32) = (5, 10);

/// A token bucket, shared by all clients of the API server. A request takes its token when its turn comes, so one that
/// is dropped while it waits costs the others nothing, like a reservation that client-go cancels
/// (`golang.org/x/time/rate`).
#[derive(Debug)]
pub struct Pace {
    bucket: Mutex<TokenBucket>,
    began: Instant,
    /// Who waits, in the order of arrival; the first one waits for a token.
    line: Semaphore,
}

impl Pace {
    /// A full bucket.
    pub fn new(per_second: u32, burst: u32) -> Pace {
        let or = |number: u32, usual: u32| f64::from(if number == 0 { usual } else { number });
        let bucket = TokenBucket::new(or(burst, USUAL.1), or(per_second, USUAL.0), Duration::ZERO);
        Pace {
            bucket: Mutex::new(bucket),
            began: Instant::now(),
            line: Semaphore::new(1),
        }
    }

    /// Takes a token; else answers how long it is until there is one.
    fn take(&self) -> Result<(), Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(self.began.elapsed())
    }

    /// Takes a token if nobody waits for one.
    fn take_at_once(&self) -> bool {
        let first = self.line.try_acquire();
        first.is_ok() && self.take().is_ok()
    }

    /// Waits in the line for a token. Dropping it leaves the line.
    async fn turn(&self) {
        let first = self.line.acquire().await;
        while let Err(wait) = self.take() {
            tokio::time::sleep(wait).await;
        }
        drop(first);
    }
}

/// Whether a request to this path has its turn. Reviews of callers do not, unlike in the kubelet: a caller could otherwise
/// delay the statuses of pods.
fn waits(path: &str) -> bool {
    let mut parts = path.split('/');
    let is_node_status = path.starts_with("/api/v1/nodes/") && path.ends_with("/status");
    !is_node_status
        && !parts.any(|part| {
            matches!(
                part,
                "leases" | "events" | "tokenreviews" | "subjectaccessreviews"
            )
        })
}

/// Lets requests go at this pace.
#[derive(Clone)]
pub(super) struct PaceLayer(pub(super) Arc<Pace>);

impl<S> Layer<S> for PaceLayer {
    type Service = Paced<S>;

    fn layer(&self, inner: S) -> Paced<S> {
        Paced {
            pace: self.0.clone(),
            inner,
        }
    }
}

/// What sends the requests.
#[derive(Clone)]
pub(super) struct Paced<S> {
    pace: Arc<Pace>,
    inner: S,
}

impl<S, B> Service<Request<B>> for Paced<S>
where
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !waits(request.uri().path()) || self.pace.take_at_once() {
            return Box::pin(self.inner.call(request));
        }
        // The one that was ready is used; its copy has to become so.
        let mut ready = self.inner.clone();
        std::mem::swap(&mut ready, &mut self.inner);
        let pace = self.pace.clone();
        Box::pin(async move {
            pace.turn().await;
            ready.call(request).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_a_burst_requests_go_at_their_pace_and_heartbeats_at_once() {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (began, log) = (Instant::now(), sent.clone());
        let inner = tower::service_fn(move |request: Request<()>| {
            let entry = (request.uri().path().to_owned(), began.elapsed().as_millis());
            log.lock().unwrap().push(entry);
            async { Ok::<_, std::convert::Infallible>(()) }
        });
        let mut paced = PaceLayer(Arc::new(Pace::new(10, 2))).layer(inner);
        let mut send = |path: &str| paced.call(Request::get(path).body(()).unwrap());
        let pods = "/api/v1/pods";
        let exempt = [
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n",
            "/api/v1/nodes/n/status",
            "/api/v1/namespaces/ns/events",
            "/apis/authentication.k8s.io/v1/tokenreviews",
        ];
        let mut all: Vec<_> = (0..4).map(|_| send(pods)).collect();
        all.extend(exempt.map(send));
        futures::future::join_all(all).await;
        let expected = [(pods, 0), (pods, 0)]
            .into_iter()
            .chain(exempt.map(|path| (path, 0)))
            .chain([(pods, 100), (pods, 200)]);
        let expected: Vec<(String, u128)> = expected.map(|(path, at)| (path.to_owned(), at)).collect();
        assert_eq!(*sent.lock().unwrap(), expected);
        // It never saves up more than a burst.
        tokio::time::advance(Duration::from_secs(60)).await;
        sent.lock().unwrap().clear();
        let all: Vec<_> = (0..3)
            .map(|_| paced.call(Request::get("/x").body(()).unwrap()))
            .collect();
        futures::future::join_all(all).await;
        let paths = sent.lock().unwrap();
        assert_eq!(paths.len(), 3);
        assert!(paths[2].1 - paths[1].1 >= 99, "{paths:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_dropped_while_it_waits_delays_no_other() {
        let inner = tower::service_fn(|_: Request<()>| async { Ok::<_, std::convert::Infallible>(()) });
        let mut paced = PaceLayer(Arc::new(Pace::new(10, 1))).layer(inner);
        let mut send = || paced.call(Request::get("/x").body(()).unwrap());
        send().await.unwrap();
        // They wait, each at its place in the line, and are dropped: also the first one.
        let mut waiting: Vec<_> = (0..50).map(|_| send()).collect();
        for one in &mut waiting {
            assert!(futures::poll!(one).is_pending());
        }
        let began = Instant::now();
        let last = waiting.pop().unwrap();
        drop(waiting);
        last.await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_millis(100));
        send().await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_millis(200));
    }

    #[tokio::test(start_paused = true)]
    async fn zero_is_the_usual_pace_of_clients() {
        let pace = Pace::new(0, 0);
        assert!((0..10).all(|_| pace.take().is_ok()));
        assert_eq!(pace.take(), Err(Duration::from_millis(200)));
    }
}
