//! A TCP port that strangers reach: it accepts always, bounds what they can hold, and ends whoever is silent for too
//! long. The node's API and the health check are both served by it.
//!
//! What all of it can hold at once: on the node's port 128 connections of strangers and 1,024 of callers who are known
//! (and 64 that are being closed), each with one socket and, where a log is followed, three more descriptors (its
//! directory, its file, the watch): 1,216 + 3 × 1,024 = 4,288; on the health port 64 (and 64). In the sum at most 4,416
//! descriptors.

mod conversation;
mod places;
mod seat;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use places::Bounds;
pub(crate) use seat::Seat;

use seat::Seats;

/// How long a caller may take to agree on a connection.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Between two attempts to accept while there are no descriptors, and no connection to take one from.
const RETRY: Duration = Duration::from_millis(100);
/// After so long without a word from a caller the kernel asks whether it is there, and so often, in seconds: Go's own
/// values (`net.ListenConfig`).
const KEEP_ALIVE: (u32, u32, u32) = (15, 15, 9);

/// What a port speaks below HTTP.
pub(crate) trait Transport: Clone + Send + Sync + 'static {
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What is known of the other end, for those who answer.
    type Peer: Clone + Send + Sync + 'static;

    /// Makes of a socket a connection. `None`: there is none, and why is logged.
    fn agree(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> impl Future<Output = Option<Agreed<Self::Io, Self::Peer>>> + Send;
}

/// A connection on which both sides have agreed.
pub(crate) struct Agreed<I, P> {
    pub(crate) io: I,
    pub(crate) peer: P,
    /// Whether the caller is authenticated by the connection itself.
    pub(crate) is_known: bool,
}

/// TCP alone.
#[derive(Debug, Clone)]
pub(crate) struct Plain;

impl Transport for Plain {
    type Io = TcpStream;
    type Peer = ();

    async fn agree(&self, io: TcpStream, _: SocketAddr) -> Option<Agreed<TcpStream, ()>> {
        Some(Agreed {
            io,
            peer: (),
            is_known: false,
        })
    }
}

/// A port and what is spoken there.
pub(crate) struct Port<T> {
    /// What the log calls it.
    pub(crate) name: &'static str,
    pub(crate) listener: TcpListener,
    pub(crate) bounds: Bounds,
    pub(crate) transport: T,
}

impl<T: Transport> Port<T> {
    /// Answers until `stopping`; then lets answers under way end for so long, and cuts off the rest. Handlers find the
    /// peer as `ConnectInfo`, and the [`Seat`] as an extension of their request.
    pub(crate) async fn serve(self, router: Router, stopping: CancellationToken, farewell: Duration) {
        let seats = Seats::new(self.name, self.bounds);
        let mut connections = JoinSet::new();
        let mut lacks = false;
        loop {
            let accepted = async {
                seats.may_accept().await;
                self.listener.accept().await
            };
            tokio::select! {
                // A socket is accepted in the moment in which this is done, and none is lost when it is dropped.
                accepted = accepted => match accepted {
                    Ok((stream, address)) => {
                        lacks = false;
                        let seat = seats.enter(address.ip());
                        let (transport, router) = (self.transport.clone(), router.clone());
                        let stopping = stopping.clone();
                        connections.spawn(attend(transport, (stream, address), seat, router, stopping));
                    }
                    Err(error) => self.failed(&error, &seats, &mut lacks).await,
                },
                // What has ended is taken away; that loses nothing.
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(port = self.name, %error, "answering a caller failed");
                    }
                }
                () = stopping.cancelled() => break,
            }
        }
        // Nobody waits in the queue of a port that is not served any more.
        drop(self.listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        // Too late: the set is dropped, and what is left in it is cut off.
        let _ = tokio::time::timeout(farewell, ended).await;
    }

    async fn failed(&self, error: &io::Error, seats: &Seats, lacks: &mut bool) {
        let failure = Failure::of(error);
        if failure == Failure::Caller {
            return;
        }
        if !*lacks {
            tracing::warn!(port = self.name, %error, "connections cannot be accepted; retrying");
        }
        *lacks = true;
        // Each turn costs somebody a connection, so that it ends; whoever is in the queue does not wait for long.
        match failure == Failure::Resources && seats.shed() {
            true => tokio::task::yield_now().await,
            false => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Why a connection was not accepted.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// The connection itself: it was broken off, or a firewall forbids it (accept(2) hands on such errors).
    Caller,
    /// The process or the machine has no descriptors or memory left.
    Resources,
    Other,
}

impl Failure {
    fn of(error: &io::Error) -> Failure {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => Failure::Resources,
            Some(
                Errno::ECONNABORTED
                | Errno::ECONNRESET
                | Errno::ECONNREFUSED
                | Errno::EPERM
                | Errno::EPROTO
                | Errno::EINTR
                | Errno::ENETDOWN
                | Errno::ENETUNREACH
                | Errno::EHOSTDOWN
                | Errno::EHOSTUNREACH
                | Errno::ENONET,
            ) => Failure::Caller,
            _ => Failure::Other,
        }
    }
}

/// One connection from its beginning to its end.
async fn attend<T: Transport>(
    transport: T,
    (stream, address): (TcpStream, SocketAddr),
    seat: Arc<Seat>,
    router: Router,
    stopping: CancellationToken,
) {
    if let Err(error) = notice_the_dead(&stream) {
        tracing::debug!(%address, %error, "a connection without keep-alive");
    }
    let agreed = tokio::select! {
        agreed = tokio::time::timeout(HANDSHAKE, transport.agree(stream, address)) => agreed,
        // Dropped with the socket, as below.
        () = seat.evicted() => return,
        () = stopping.cancelled() => return,
    };
    match agreed {
        Ok(Some(agreed)) => {
            if agreed.is_known {
                seat.recognise();
            }
            conversation::converse(agreed.io, seat, agreed.peer, router, stopping).await;
        }
        Ok(None) => {}
        Err(_) => tracing::debug!(%address, "a caller did not finish the handshake"),
    }
}

/// Has the kernel ask whether a silent caller is still there, and answers go out at once.
fn notice_the_dead(stream: &TcpStream) -> io::Result<()> {
    let (idle, interval, count) = KEEP_ALIVE;
    let socket = stream.as_fd();
    stream.set_nodelay(true)?;
    setsockopt(&socket, sockopt::KeepAlive, &true)?;
    setsockopt(&socket, sockopt::TcpKeepIdle, &idle)?;
    setsockopt(&socket, sockopt::TcpKeepInterval, &interval)?;
    setsockopt(&socket, sockopt::TcpKeepCount, &count)?;
    Ok(())
}

#[cfg(test)]
mod tests;
