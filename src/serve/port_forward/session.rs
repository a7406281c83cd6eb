//! Forwarded connections over one SPDY connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::debug;

use super::client_end::ClientEnd;
use super::pairs::{BadStream, Pairs};
use super::relay::{QUEUE, Target, forward};
use crate::serve::stream::heartbeat;
use crate::serve::stream::lifetime::{Cut, Lifetime};
use crate::serve::stream::spdy::{self, Event, Headers, Role, SpdyError, StreamId};

/// How many connections a client may have forwarded at once, each of which is a socket in the pod.
const MAX_FORWARDED: usize = 256;

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
    port: u16,
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
        why = lifetime.cut() => {
            debug!("forwarding ports ends: {why}");
            let parting = async {
                if session.say(why).await.is_ok() {
                    while let Ok(Some(_)) = events.next().await {}
                }
            };
            lifetime.part(true, parting).await;
        }
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
                let client = ClientEnd::Streams { sender, pair };
                forward(client, pair.port, &target, from_client).await;
                pair.data
            });
            let to_pod = (!(ended && stream == pair.data)).then_some(to_pod);
            let forwarded = Forwarded {
                to_pod,
                error: pair.error,
                port: pair.port,
                task,
            };
            self.forwarded.insert(pair.data, forwarded);
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

    /// Says why every connection ends.
    async fn say(&mut self, why: Cut) -> Result<(), SpdyError> {
        self.tasks.abort_all();
        for forwarded in self.forwarded.values() {
            let text = self.target.failure(forwarded.port, &why.to_string());
            self.sender.data(forwarded.error, text.into(), true).await?;
        }
        self.sender.close().await
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

#[cfg(test)]
mod tests;
