//! Forwarded connections over one SPDY connection.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::{FusedFuture as _, FutureExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::debug;

use super::dial::{PodNetwork, dial};
use super::pairs::{BadStream, Pair, Pairs};
use crate::model::error_chain::chain;
use crate::model::pod::PodName;
use crate::serve::stream::heartbeat;
use crate::serve::stream::lifetime::Lifetime;
use crate::serve::stream::spdy::{self, Event, Headers, Role, SpdyError, StreamId};

/// How much is read from the pod at once.
const CHUNK: usize = 16 * 1024;
/// How many frames of the client may wait for the pod on one connection. When it is reached, the whole SPDY connection
/// waits: the protocol's clients know no flow control of a single stream.
const QUEUE: usize = 2;
/// How long what the client sends is passed on after the pod has ended its side, as containerd does.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// How long the pod may be silent after the client has ended its side; containerd gives it a second.
const AFTER_CLIENT: Duration = Duration::from_secs(60);
/// How many connections a client may have forwarded at once, each of which is a socket in the pod.
const MAX_FORWARDED: usize = 256;

/// The pod whose ports are forwarded.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) pod: PodName,
    pub(super) uid: String,
    pub(super) network: PodNetwork,
}

/// The connection with the client.
struct Session {
    target: Arc<Target>,
    sender: spdy::Sender,
    pairs: Pairs,
    begun: Instant,
    /// The forwarded connections, by their data streams.
    forwarded: BTreeMap<StreamId, Forwarded>,
    tasks: JoinSet<StreamId>,
}

struct Forwarded {
    /// `None` after the client has sent its last byte.
    to_pod: Option<mpsc::Sender<Bytes>>,
    error: StreamId,
    task: AbortHandle,
}

/// Forwards until the client is gone or the stream is cut.
pub(super) async fn run<I>(io: I, target: Target, lifetime: &Lifetime)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut events, sender) = spdy::open(io, Role::Server);
    let mut session = Session {
        target: Arc::new(target),
        sender,
        pairs: Pairs::default(),
        begun: Instant::now(),
        forwarded: BTreeMap::new(),
        tasks: JoinSet::new(),
    };
    let sender = session.sender.clone();
    let served = async {
        loop {
            let overdue = session.pairs.due().map(|due| session.begun + due);
            tokio::select! {
                // Cancel-safe: what has been read stays read.
                event = events.next() => match event? {
                    Some(event) => session.handle(event).await?,
                    None => return Ok::<_, SpdyError>(()),
                },
                // Loses nothing when dropped.
                Some(ended) = session.tasks.join_next() => session.forget(ended),
                () = until(overdue) => session.give_up().await?,
            }
        }
    };
    tokio::select! {
        served = served => if let Err(error) = served {
            debug!(%error, "the client of forwarded ports disconnected");
        },
        // The same, seen by who writes to it.
        () = sender.closed() => debug!("the client of forwarded ports disconnected"),
        // Dropped with all forwarded connections.
        why = lifetime.cut() => debug!("forwarding ports ends: {why}"),
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Session {
    async fn handle(&mut self, event: Event) -> Result<(), SpdyError> {
        match event {
            Event::Opened {
                stream,
                headers,
                ended,
            } => self.open(stream, &headers, ended).await,
            Event::Data { stream, data, ended } => {
                self.pass(stream, data, ended).await;
                Ok(())
            }
            Event::Reset { stream } => {
                self.pairs.remove(stream);
                let Some(forwarded) = self.forwarded.remove(&stream) else {
                    return Ok(());
                };
                forwarded.task.abort();
                // kubectl waits for it.
                self.sender.data(forwarded.error, Bytes::new(), true).await
            }
            Event::Accepted { .. } | Event::GoAway => Ok(()),
        }
    }

    async fn open(&mut self, stream: StreamId, headers: &Headers, ended: bool) -> Result<(), SpdyError> {
        let is_full = self.forwarded.len() + self.pairs.len() >= MAX_FORWARDED;
        let added = match is_full && !self.pairs.completes(headers) {
            true => Err(BadStream::TooMany(MAX_FORWARDED)),
            false => self.pairs.add(stream, headers, self.begun.elapsed()),
        };
        let pair = match added {
            Ok(pair) => pair,
            Err(bad) => {
                debug!(pod = %self.target.pod, error = %bad, "refusing a stream of a forwarded port");
                return self.sender.refuse(stream).await;
            }
        };
        self.sender.accept(stream).await?;
        if let Some(pair) = pair {
            let (to_pod, from_client) = mpsc::channel(QUEUE);
            let (target, sender) = (self.target.clone(), self.sender.clone());
            let task = self.tasks.spawn(async move {
                forward(pair, &target, from_client, &sender).await;
                pair.data
            });
            let to_pod = (!(ended && stream == pair.data)).then_some(to_pod);
            let error = pair.error;
            self.forwarded
                .insert(pair.data, Forwarded { to_pod, error, task });
        }
        Ok(())
    }

    /// Passes data of the client on. It waits while the pod does not take it; meanwhile the client is sent heartbeats, which
    /// fail when it has disconnected.
    async fn pass(&mut self, stream: StreamId, data: Bytes, ended: bool) {
        // The client sends nothing on error streams, but ends them.
        let Some(forwarded) = self.forwarded.get_mut(&stream) else {
            return;
        };
        if let Some(to_pod) = &forwarded.to_pod
            && !data.is_empty()
        {
            // It fails when the pod has closed the connection: what comes late is for nobody.
            let taken = heartbeat::meanwhile(to_pod.send(data), || self.sender.heartbeat(forwarded.error));
            let _ = taken.await;
        }
        if ended {
            forwarded.to_pod = None;
        }
    }

    fn forget(&mut self, ended: Result<StreamId, tokio::task::JoinError>) {
        match ended {
            Ok(stream) => drop(self.forwarded.remove(&stream)),
            // Its entry has been removed before.
            Err(error) if error.is_cancelled() => {}
            Err(error) => tracing::error!(%error, "the task of a forwarded connection failed"),
        }
    }

    async fn give_up(&mut self) -> Result<(), SpdyError> {
        for stream in self.pairs.overdue(self.begun.elapsed()) {
            debug!(pod = %self.target.pod, "a stream of a forwarded port has no second one; resetting it");
            self.sender.reset(stream).await?;
        }
        Ok(())
    }
}

/// Forwards one connection. The client learns on the error stream if it cannot be made; a connection that breaks later
/// ends like one of TCP, and the others go on.
async fn forward(pair: Pair, target: &Target, from_client: mpsc::Receiver<Bytes>, sender: &spdy::Sender) {
    let done = match dial(&target.network, pair.port).await {
        Ok(stream) => relay(stream, pair, from_client, sender).await,
        Err(error) => {
            let text = format!(
                "error forwarding port {} to pod {}, uid {}: {}",
                pair.port,
                target.pod,
                target.uid,
                chain(&error)
            );
            refuse(pair, text, sender).await
        }
    };
    if let Err(error) = done {
        debug!(%error, "the client of a forwarded connection is gone");
    }
}

async fn refuse(pair: Pair, text: String, sender: &spdy::Sender) -> Result<(), SpdyError> {
    sender.data(pair.error, text.into(), true).await?;
    sender.reset(pair.data).await
}

/// What ended a forwarded connection early.
enum Broken {
    /// The connection with the pod.
    Pod(std::io::Error),
    /// The connection with the client, which carries all others, too.
    Client(SpdyError),
}

async fn relay(
    stream: TcpStream,
    pair: Pair,
    from_client: mpsc::Receiver<Bytes>,
    sender: &spdy::Sender,
) -> Result<(), SpdyError> {
    let (from_pod, to_pod) = stream.into_split();
    let received_bytes = AtomicU64::new(0);
    // Fused, because it may have completed before the pod's side ends.
    let mut received = pin!(receive(from_client, to_pod).fuse());
    let broken = async {
        match received.as_mut().await {
            // The pod may have more to say, but not for ever.
            Ok(()) => silence(&received_bytes).await,
            Err(error) => error,
        }
    };
    let sent = tokio::select! {
        sent = send(from_pod, pair.data, sender, &received_bytes) => sent,
        // What has been read from the pod is on its way.
        error = broken => Err(error),
    };
    match sent {
        Ok(()) => {
            // kubectl keeps its end open until the error stream ends.
            sender.data(pair.error, Bytes::new(), true).await?;
            if !received.is_terminated() {
                let _ = tokio::time::timeout(AFTERWARDS, received).await;
            }
            return Ok(());
        }
        Err(Broken::Client(error)) => return Err(error),
        Err(Broken::Pod(error)) => {
            debug!(%error, port = pair.port, "a forwarded connection broke");
            sender.reset(pair.data).await?;
        }
    }
    sender.data(pair.error, Bytes::new(), true).await
}

/// Completes when nothing has come from the pod for [`AFTER_CLIENT`].
async fn silence(bytes: &AtomicU64) -> Broken {
    loop {
        let before = bytes.load(Ordering::Relaxed);
        tokio::time::sleep(AFTER_CLIENT).await;
        if bytes.load(Ordering::Relaxed) == before {
            return Broken::Pod(std::io::ErrorKind::TimedOut.into());
        }
    }
}

/// Sends what comes from the pod until its end.
async fn send(
    mut from_pod: OwnedReadHalf,
    stream: StreamId,
    sender: &spdy::Sender,
    bytes: &AtomicU64,
) -> Result<(), Broken> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        let read = (&mut from_pod).take(CHUNK as u64).read_buf(&mut buffer).await;
        let is_end = read.map_err(Broken::Pod)? == 0;
        let data = buffer.split().freeze();
        bytes.fetch_add(u64::try_from(data.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        sender.data(stream, data, is_end).await.map_err(Broken::Client)?;
        if is_end {
            return Ok(());
        }
    }
}

/// Writes what comes from the client until its end.
async fn receive(mut from_client: mpsc::Receiver<Bytes>, mut to_pod: OwnedWriteHalf) -> Result<(), Broken> {
    while let Some(data) = from_client.recv().await {
        to_pod.write_all(&data).await.map_err(Broken::Pod)?;
    }
    match to_pod.shutdown().await {
        // The pod has closed the connection before.
        Err(error) if error.kind() == std::io::ErrorKind::NotConnected => Ok(()),
        ended => ended.map_err(Broken::Pod),
    }
}

#[cfg(test)]
mod tests;
