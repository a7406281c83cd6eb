//! A connection's place at the port, held as long as its socket is open.

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

/// How long the first request may take to come, after the handshake.
const FIRST: Duration = Duration::from_secs(10);
/// How long the next one may take on a connection that is kept alive: the kubelet's `IdleTimeout`
/// (`pkg/kubelet/server/server.go`).
const NEXT: Duration = Duration::from_secs(90);
/// How long an answer may lie untaken: the kubelet's `WriteTimeout`. Somebody who follows a log may stop its scrolling
/// for a while.
const UNTAKEN: Duration = Duration::from_secs(4 * 60 * 60);
/// How often the log says that connections lose their places.
const QUIET: Duration = Duration::from_secs(60);
/// Sockets that may be open beside those that have places: of connections that have just lost theirs.
const CLOSING: usize = 64;

/// The places of a port. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Seats {
    inner: Arc<Mutex<Inner>>,
    /// Wakes whoever waits for one of those that are closing.
    closed: Arc<Notify>,
}

#[derive(Debug)]
struct Inner {
    port: &'static str,
    places: Places,
    /// Those that have a place. Cancelled when they lose it.
    evicted: HashMap<Id, CancellationToken>,
    /// How many have lost their places and are still open.
    closing: usize,
    /// How many have lost their places since the log said so, and when that was.
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

    /// Waits until one more socket may be open: the bound of the port's descriptors. That takes no longer than a
    /// connection that has lost its place takes to close, and its task does nothing else.
    pub(super) async fn may_accept(&self) {
        while self.lock().closing >= CLOSING {
            // Whatever closes in between leaves a permit.
            self.closed.notified().await;
        }
    }

    /// Gives a place to a connection from this address.
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

    /// Ends a connection so that its descriptor can be used; false where there is none to be ended.
    pub(super) fn shed(&self) -> bool {
        self.change(|inner| {
            let lost = inner.places.shed();
            (lost.is_some(), lost)
        })
    }

    /// Changes the places, and has the connection end that has lost its own by that.
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
            "there are more connections than places: the oldest of the address that has most are closed"
        );
        (self.lost, self.said) = (0, Some(now));
    }
}

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A request has to come within this time.
    Awaiting(Duration),
    /// A request is being answered.
    Answering,
}

/// A connection's place.
#[derive(Debug)]
pub(crate) struct Seat {
    id: Id,
    seats: Seats,
    evicted: CancellationToken,
    phase: watch::Sender<Phase>,
    /// Bytes that were written, of all answers.
    written: AtomicU64,
}

impl Seat {
    /// The caller is known.
    pub(crate) fn recognise(&self) {
        self.seats.change(|inner| ((), inner.places.recognise(self.id)));
    }

    /// A request has come; it is being answered until what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        self.seats.lock().places.set_busy(self.id, true);
        self.phase.send_replace(Phase::Answering);
        Answering(self.clone())
    }

    /// Done when the connection has lost its place.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Done when the caller has taken too long: no request within the time for it. An answer that is still being taken
    /// is no silence.
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
                // The sender is in `self`. Dropped, it is asked for anew.
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
pub(super) struct Answering(Arc<Seat>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.seats.lock().places.set_busy(self.0.id, false);
        self.0.phase.send_replace(Phase::Awaiting(NEXT));
    }
}

/// A connection's bytes. The place is given up after the socket is closed.
#[derive(Debug)]
pub(super) struct Seated<S> {
    stream: S,
    /// Since the caller takes nothing.
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

    /// Holds what writing came to against the time that an answer may lie untaken.
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
