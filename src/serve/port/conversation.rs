//! HTTP on one connection, within limits of time and size. Only HTTP/1.1 is supported; a connection that starts with
//! HTTP/2 is closed.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::seat::{Seat, Seated};

/// The maximum size of a request header, and of the response buffered for the client. Tokens with many groups take some
/// 16 KiB. Bodies are read only by the handlers that need them.
const BUFFER: usize = 64 * 1024;

/// Answers requests until the client disconnects, is silent for too long, or loses its slot; after `stopping`, until
/// the pending response has finished.
pub(super) async fn converse<S, P>(
    stream: S,
    seat: Arc<Seat>,
    peer: P,
    router: Router,
    stopping: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Clone + Send + Sync + 'static,
{
    let service = service_fn(|request| answer(request, &router, &seat, &peer));
    let io = TokioIo::new(Seated::new(stream, seat.clone()));
    let mut http = http1::Builder::new();
    // The seat's timer covers the time between requests, too.
    http.header_read_timeout(None).max_buf_size(BUFFER);
    // An upgraded connection leaves this function with its slot, and is bounded by what it was upgraded to.
    let mut connection = pin!(http.serve_connection(io, service).with_upgrades());
    let mut silence = pin!(seat.silence());
    let mut is_ending = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended with an error");
                }
                return;
            }
            // Dropped with the connection, as the two below.
            () = silence.as_mut() => return,
            () = seat.evicted() => return,
            () = stopping.cancelled(), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn answer<P: Clone + Send + Sync + 'static>(
    request: Request<Incoming>,
    router: &Router,
    seat: &Arc<Seat>,
    peer: &P,
) -> Result<Response, Infallible> {
    let answering = seat.begin();
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer.clone()));
    request.extensions_mut().insert(seat.clone());
    let response = router.clone().oneshot(request).await?;
    // The response lasts as long as its body, which is dropped when all of it has been passed on.
    Ok(response.map(|body| {
        Body::new(body.map_err(move |error| {
            let _until_dropped = &answering;
            error
        }))
    }))
}
