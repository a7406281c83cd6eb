//! A TCP port that untrusted clients can reach. It always accepts, bounds what connections can hold, and closes those
//! that are silent for too long. The node API, the health check and the endpoint for kubectl use it.
//!
//! The maximum of open descriptors: on the node API's port 128 unauthenticated and 1,024 authenticated connections (and
//! 64 that are being closed), each with one socket and, while following a log, three more descriptors (its directory,
//! its file, the watch) or, with a command, three (its pipes): 1,216 + 3 × 1,024 = 4,288; on the health port 64 (and 64);
//! on the kubectl port of a machine without a cluster 32 and 256 (and 64): 352 + 3 × 256 = 1,120. In total at most 5,536
//! descriptors, and one for each forwarded connection: an authorized caller may have 256 over each of its connections to
//! the port.

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
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use places::Bounds;
pub(crate) use seat::Seat;

use seat::Seats;

/// How long a client may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The wait between two attempts to accept if there are no descriptors left and there is no connection to close.
const RETRY: Duration = Duration::from_millis(100);
/// TCP keep-alive: the idle time and the interval in seconds, both Go's defaults (`net.ListenConfig`).
const KEEP_ALIVE: (u32, u32, u32) = (15, 15, 9);

/// How many connections may wait to be accepted; the kernel lowers it to `net.core.somaxconn`, 4096 since Linux 5.4, which
/// is also what Go asks for. A connection beyond it is retried by its client's kernel after a second.
const WAITING: u32 = 4096;

/// Listens at an address, with room for a crowd that comes at once.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

/// The layer below HTTP: plain TCP or TLS.
pub(crate) trait Transport: Clone + Send + Sync + 'static {
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What is known about the client, for the request handlers.
    type Peer: Clone + Send + Sync + 'static;

    /// Turns a socket into a connection. `None`: the handshake failed, and the reason is logged.
    fn agree(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> impl Future<Output = Option<Agreed<Self::Io, Self::Peer>>> + Send;
}

/// An established connection.
pub(crate) struct Agreed<I, P> {
    pub(crate) io: I,
    pub(crate) peer: P,
    /// Whether the client is authenticated by the connection itself.
    pub(crate) is_known: bool,
}

/// Plain TCP.
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

/// A port and its transport.
pub(crate) struct Port<T> {
    /// The name of the port in the log.
    pub(crate) name: &'static str,
    pub(crate) listener: TcpListener,
    pub(crate) bounds: Bounds,
    pub(crate) transport: T,
}

impl<T: Transport> Port<T> {
    /// Serves until `stopping`; then pending responses get `farewell` to finish, and the rest is cut off. Handlers find
    /// the peer as `ConnectInfo`, and the [`Seat`] as an extension of their request.
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
                // A socket is accepted at the moment this completes, and none is lost if the future is dropped.
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
                // Reaps finished connections; dropping this future loses nothing.
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(port = self.name, %error, "a connection task failed");
                    }
                }
                () = stopping.cancelled() => break,
            }
        }
        // Close the listener, so that no client waits in the queue of a port that is no longer served.
        drop(self.listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        // On a timeout the set is dropped, and what is left in it is cut off.
        let _ = tokio::time::timeout(farewell, ended).await;
    }

    async fn failed(&self, error: &io::Error, seats: &Seats, lacks: &mut bool) {
        let failure = Failure::of(error);
        if failure == Failure::Caller {
            return;
        }
        if !*lacks {
            tracing::warn!(port = self.name, %error, "cannot accept connections; retrying");
        }
        *lacks = true;
        // Each turn closes a connection, so the loop ends and clients in the queue do not wait for long.
        match failure == Failure::Resources && seats.shed() {
            true => tokio::task::yield_now().await,
            false => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Why a connection was not accepted.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// The connection itself: it was aborted, or a firewall forbids it (accept(2) passes such errors on).
    Caller,
    /// The process or the machine is out of descriptors or memory.
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

/// Handles one connection from start to end.
async fn attend<T: Transport>(
    transport: T,
    (stream, address): (TcpStream, SocketAddr),
    seat: Arc<Seat>,
    router: Router,
    stopping: CancellationToken,
) {
    if let Err(error) = notice_the_dead(&stream) {
        tracing::debug!(%address, %error, "cannot enable TCP keep-alive on a connection");
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
        Err(_) => tracing::debug!(%address, "client did not complete the TLS handshake in time"),
    }
}

/// Enables TCP keep-alive, to detect dead clients, and sends responses without delay.
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
