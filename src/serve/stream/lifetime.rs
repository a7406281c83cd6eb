//! How long a stream lives: until its client, the process or the agent ends, its connection loses its slot, or nothing
//! has passed for `streamingConnectionIdleTimeout`.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::serve::port::Seat;
use crate::serve::world::FAREWELL;

/// Why a stream is ended from outside. The text is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cut {
    /// The agent stops.
    #[error("gantry is stopping on this node")]
    Stopping,
    /// The port has too many connections, and this one had to go.
    #[error("the node has too many connections")]
    Evicted,
    /// Nothing passed for too long.
    #[error("the stream was idle for too long (streamingConnectionIdleTimeout)")]
    Idle,
}

/// What bounds a stream's life.
#[derive(Debug, Clone)]
pub(crate) struct Lifetime {
    stopping: CancellationToken,
    /// Without one the connection is not one of a port.
    seat: Option<Arc<Seat>>,
    idle: Duration,
    /// The number of bytes that have passed.
    passed: Arc<AtomicU64>,
}

impl Lifetime {
    pub(crate) fn new(stopping: CancellationToken, seat: Option<Arc<Seat>>, idle: Duration) -> Lifetime {
        Lifetime {
            stopping,
            seat,
            idle,
            passed: Arc::default(),
        }
    }

    /// Counts what passes over the connection.
    pub(crate) fn counting<I>(&self, io: I) -> Counting<I> {
        Counting {
            io,
            passed: self.passed.clone(),
        }
    }

    /// Completes when the stream has to end. Nothing is lost if the future is dropped.
    pub(crate) async fn cut(&self) -> Cut {
        let evicted = async {
            match &self.seat {
                Some(seat) => seat.evicted().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Each of these only waits.
            () = self.stopping.cancelled() => Cut::Stopping,
            () = evicted => Cut::Evicted,
            () = self.silence() => Cut::Idle,
        }
    }

    /// Runs the end of a stream. It is cut, too; one that has been cut already has [`FAREWELL`] left.
    pub(crate) async fn part(&self, was_cut: bool, parting: impl Future<Output = ()>) {
        let limit = async {
            match was_cut {
                true => tokio::time::sleep(FAREWELL).await,
                false => drop(self.cut().await),
            }
        };
        tokio::select! {
            () = parting => {}
            // Dropped with the connection.
            () = limit => {}
        }
    }

    /// Completes when nothing has passed for one to two idle times: a clock is read once per idle time, not per byte.
    async fn silence(&self) {
        let mut before = self.passed.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(self.idle).await;
            let now = self.passed.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            before = now;
        }
    }
}

/// A connection whose bytes are counted.
#[derive(Debug)]
pub(crate) struct Counting<I> {
    io: I,
    passed: Arc<AtomicU64>,
}

impl<I> Counting<I> {
    fn count(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.passed.fetch_add(bytes, Ordering::Relaxed);
    }

    fn written(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = polled {
            self.count(bytes);
        }
        polled
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Counting<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        self.count(buffer.filled().len() - before);
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Counting<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.written(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::Instant;

    use super::*;

    const IDLE: Duration = Duration::from_secs(100);

    #[tokio::test(start_paused = true)]
    async fn a_stream_on_which_nothing_passes_is_cut() {
        let lifetime = Lifetime::new(CancellationToken::new(), None, IDLE);
        let before = Instant::now();
        assert_eq!(lifetime.cut().await, Cut::Idle);
        assert_eq!(before.elapsed().as_secs(), IDLE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_in_either_direction_keep_a_stream() {
        let lifetime = Lifetime::new(CancellationToken::new(), None, IDLE);
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = lifetime.counting(ours);
        let passes = async {
            for round in 0..10 {
                tokio::time::sleep(IDLE / 2).await;
                match round % 2 {
                    0 => ours.write_all(b"x").await.unwrap(),
                    _ => {
                        theirs.write_all(b"y").await.unwrap();
                        tokio::io::AsyncReadExt::read_u8(&mut ours).await.unwrap();
                    }
                }
            }
            Instant::now()
        };
        let (last, cut) = tokio::join!(passes, async { (lifetime.cut().await, Instant::now()) });
        assert_eq!(cut.0, Cut::Idle);
        assert!(
            cut.1 - last >= IDLE / 2 && cut.1 - last <= IDLE * 2,
            "{:?}",
            cut.1 - last
        );
    }

    #[tokio::test]
    async fn a_stopping_agent_ends_its_streams() {
        let stopping = CancellationToken::new();
        let lifetime = Lifetime::new(stopping.clone(), None, IDLE);
        stopping.cancel();
        assert_eq!(lifetime.cut().await, Cut::Stopping);
    }
}
