//! Counts the requests to the API server, whatever sends them.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::future::BoxFuture;
use hyper::body::Body;
use hyper::http::{Request, Response};
use tower::{Layer, Service};

use crate::counters::{ApiRequest, Counters};

/// Counts the requests of a client.
#[derive(Clone)]
pub(super) struct Meter {
    /// Where they are counted.
    pub(super) counters: Arc<Counters>,
    /// The API server: `192.0.2.1:6443`.
    pub(super) host: Arc<str>,
}

impl<S> Layer<S> for Meter {
    type Service = Metered<S>;

    fn layer(&self, inner: S) -> Metered<S> {
        Metered {
            meter: self.clone(),
            inner,
        }
    }
}

/// What sends the requests.
#[derive(Clone)]
pub(super) struct Metered<S> {
    meter: Meter,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Metered<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    B: Body,
    R: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Meter { counters, host } = self.meter.clone();
        let (method, sent) = (request.method().to_string(), request.body().size_hint().exact());
        let began = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let answered = answer.as_ref().ok();
            counters.api_requests.ended(ApiRequest {
                method,
                host: host.to_string(),
                status: answered.map(|answer| answer.status().as_u16()),
                took: began.elapsed(),
                sent,
                received: answered.and_then(|answer| answer.body().size_hint().exact()),
            });
            answer
        })
    }
}
