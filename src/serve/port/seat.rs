//! A connection's slot at the port, held as long as its socket is open.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::places::{Bounds, Id, Lost, Origin, Places};

/// How long the first request may take to arrive after the handshake.
const FIRST: Duration = Duration::from_secs(10);
/// How long a keep-alive connection may wait for the next request: the kubelet's `IdleTimeout`
/// (`pkg/kubelet/server/server.go`).
const NEXT: Duration = Duration::from_secs(90);
/// How long a response may wait to be read: the kubelet's `WriteTimeout`. A client following a log may pause its output
/// for a while.
const UNTAKEN: Duration = Duration::from_secs(4 * 60 * 60);
/// The minimum interval between log messages about closed connections.
const QUIET: Duration = Duration::from_secs(60);
/// The number of sockets that may be open besides those with a slot: connections that have just lost theirs.
const CLOSING: usize = 64;

/// The slots of a port. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Seats {
    inner: Arc<Mutex<Inner>>,
    /// Wakes the tasks that wait for a closing connection to end.
    closed: Arc<Notify>,
}

#[derive(Debug)]
struct Inner {
    port: &'static str,
    places: Places,
    /// The connections with a slot. The token is canceled when a connection loses its slot.
    evicted: HashMap<Id, CancellationToken>,
    /// How many connections have lost their slots and are still open.
    closing: usize,
    /// How many connections have been closed since the last log message, and when that was.
    lost: u64,
    said: Option<Instant>,
}

impl Seats {
    pub(super) fn new(port: &'static str, bounds: Bounds) -> Seats {
        Seats {
            inner: Arc::new(Mutex::new(Inner {
                port,
                places: Places::new(bounds),
                evicted: HashMap::new(),
                closing: 0,
                lost: 0,
                said: None,
            })),
            closed: Arc::default(),
        }
    }

    /// Waits until one more socket may be open, which bounds the port's descriptors. A connection that has lost its
    /// slot closes soon, because its task does nothing else.
    pub(super) async fn may_accept(&self) {
        while self.lock().closing >= CLOSING {
            // A connection that closes in between leaves a permit.
            self.closed.notified().await;
        }
    }

    /// Gives a slot to a connection from this address.
    pub(super) fn enter(&self, address: IpAddr) -> Arc<Seat> {
        let evicted = CancellationToken::new();
        let id = self.change(|inner| {
            let (id, lost) = inner.places.enter(Origin::of(address));
            inner.evicted.insert(id, evicted.clone());
            (id, lost)
        });
        Arc::new(Seat {
            id,
            seats: self.clone(),
            evicted,
            phase: watch::Sender::new(Phase::Awaiting(FIRST)),
            written: AtomicU64::new(0),
        })
    }

    /// Closes a connection so that its descriptor can be used; false if there is none to close.
    pub(super) fn shed(&self) -> bool {
        self.change(|inner| {
            let lost = inner.places.shed();
            (lost.is_some(), lost)
        })
    }

    /// Changes the slots, and closes the connection that loses its slot as a result.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> (T, Option<Lost>)) -> T {
        let mut inner = self.lock();
        let (result, lost) = change(&mut inner);
        if let Some(lost) = lost {
            if let Some(evicted) = inner.evicted.remove(&lost.id) {
                evicted.cancel();
                inner.closing += 1;
            }
            inner.report(lost.origin);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock can panic")
    }
}

impl Inner {
    fn report(&mut self, origin: Origin) {
        self.lost += 1;
        let now = Instant::now();
        if self.said.is_some_and(|said| now - said < QUIET) {
            return;
        }
        tracing::warn!(
            port = self.port,
            %origin,
            connections = self.lost,
            "too many connections; closing the oldest ones of the address with the most connections"
        );
        (self.lost, self.said) = (0, Some(now));
    }
}

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A request must arrive within this time.
    Awaiting(Duration),
    /// A request is being answered.
    Answering,
}

/// A connection's slot.
#[derive(Debug)]
pub(crate) struct Seat {
    id: Id,
    seats: Seats,
    evicted: CancellationToken,
    phase: watch::Sender<Phase>,
    /// The number of bytes written, over all responses.
    written: AtomicU64,
}

impl Seat {
    /// Marks the client as authenticated.
    pub(crate) fn recognise(&self) {
        self.seats.change(|inner| ((), inner.places.recognise(self.id)));
    }

    /// A request has arrived; it is being answered until the returned value is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Answering {
        self.seats.lock().places.set_busy(self.id, true);
        self.phase.send_replace(Phase::Answering);
        Answering(self.clone())
    }

    /// Completes when the connection has lost its slot.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Completes when the client has taken too long: no request in time. A response that is still being read does not
    /// count as silence.
    pub(super) async fn silence(&self) {
        let mut phase = self.phase.subscribe();
        loop {
            let now = *phase.borrow_and_update();
            let written = self.written.load(Ordering::Relaxed);
            let limit = async {
                match now {
                    Phase::Awaiting(limit) => tokio::time::sleep(limit).await,
                    Phase::Answering => std::future::pending().await,
                }
            };
            tokio::select! {
                // The sender is in `self`. If the future is dropped, it is created again.
                _ = phase.changed() => {}
                // Dropped when the phase has changed: another limit holds.
                () = limit => if written == self.written.load(Ordering::Relaxed) { return },
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inner = self.seats.lock();
        inner.places.leave(self.id);
        if inner.evicted.remove(&self.id).is_none() {
            inner.closing -= 1;
            self.seats.closed.notify_one();
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Answering(Arc<Seat>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.seats.lock().places.set_busy(self.0.id, false);
        self.0.phase.send_replace(Phase::Awaiting(NEXT));
    }
}

/// A connection's bytes. The slot is released after the socket is closed.
#[derive(Debug)]
pub(super) struct Seated<S> {
    stream: S,
    /// Since when the client has accepted no data.
    untaken: Option<Pin<Box<Sleep>>>,
    seat: Arc<Seat>,
}

impl<S> Seated<S> {
    pub(super) fn new(stream: S, seat: Arc<Seat>) -> Seated<S> {
        Seated {
            stream,
            untaken: None,
            seat,
        }
    }

    /// Checks the progress of writing against the time that a response may wait to be read.
    fn taken<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.untaken = None;
            return polled;
        }
        let untaken = self
            .untaken
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(UNTAKEN)));
        match untaken.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn count(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = polled {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            self.seat.written.fetch_add(bytes, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Seated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Seated<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        let polled = self.count(polled);
        self.taken(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        let polled = self.count(polled);
        self.taken(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.taken(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.taken(cx, polled)
    }
}
