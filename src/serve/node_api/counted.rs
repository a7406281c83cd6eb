//! Counts requests and how long their answers take.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

use crate::counters::{Counters, Route, ServerType, StreamKind};

/// A request that is being answered; dropped, it has been.
struct Under {
    counters: Arc<Counters>,
    route: Route,
    began: Instant,
}

impl Drop for Under {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.counters.served.ended(self.route.clone(), took);
    }
}

/// Counts a request until its answer has been sent, or its caller is gone. A stream that begins with the answer (exec,
/// attach, port-forward) is not part of it.
pub(super) async fn count(
    State((counters, server)): State<(Arc<Counters>, ServerType)>,
    request: Request,
    next: Next,
) -> Response {
    let route = Route::of(request.method().as_str(), request.uri().path(), server);
    counters.served.begun(&route);
    let under = Under {
        counters,
        route,
        began: Instant::now(),
    };
    let answer = next.run(request).await;
    answer.map(|body| Body::new(Counted { body, _under: under }))
}

/// The body of an answer.
struct Counted {
    body: Body,
    _under: Under,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Counts a stream that is requested over WebSocket.
pub(super) async fn count_websocket(
    State(counters): State<Arc<Counters>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let kind = match path.split('/').nth(1) {
        Some("exec") => Some(StreamKind::Exec),
        Some("attach") => Some(StreamKind::Attach),
        Some("portForward") => Some(StreamKind::PortForward),
        _ => None,
    };
    if let Some(kind) = kind.filter(|_| is_websocket(request.headers())) {
        counters.served.websocket(kind);
    }
    next.run(request).await
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE);
    upgrade.is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
