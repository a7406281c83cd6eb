//! The client of a command, whatever it speaks.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::command::{FromClient, ToClient};
use super::{spdy_command, websocket};

/// How long the client may take to close the connection after the last message. What it still sends is read until then:
/// closing a socket with unread data would destroy what is under way to the client (RFC 9293, section 3.6.1).
const PARTING: Duration = Duration::from_secs(5);

/// What the client sends.
pub(crate) enum Reader<I> {
    Spdy(Box<spdy_command::Reader<I>>),
    WebSocket(websocket::CommandReader<I>),
}

/// What the client gets.
pub(crate) enum Writer<I> {
    Spdy(spdy_command::Writer),
    WebSocket(websocket::CommandWriter<I>),
}

impl<I: AsyncRead + AsyncWrite + Send + Unpin + 'static> Reader<I> {
    /// The next of what the client sends; `None` when the client is gone, or has broken the protocol.
    pub(crate) async fn next(&mut self) -> Option<FromClient> {
        let read = match self {
            Reader::Spdy(reader) => reader.next().await.map_err(|error| error.to_string()),
            Reader::WebSocket(reader) => reader.next().await.map_err(|error| error.to_string()),
        };
        read.unwrap_or_else(|error| {
            debug!(%error, "the client of a stream disconnected");
            None
        })
    }
}

/// Sends messages to the client until there are no more, or the client is gone.
pub(crate) async fn send<I>(mut writer: Writer<I>, mut queue: mpsc::Receiver<ToClient>)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    while let Some(message) = queue.recv().await {
        let sent = match &mut writer {
            Writer::Spdy(writer) => writer.send(message).await.map_err(|error| error.to_string()),
            Writer::WebSocket(writer) => writer.send(message).await.map_err(|error| error.to_string()),
        };
        if let Err(error) = sent {
            debug!(%error, "the client of a stream disconnected");
            return;
        }
    }
}

/// Ends a stream whose last message has been queued: sends what is left, however slowly the client reads, then reads
/// until the client closes the connection.
pub(crate) async fn part<I>(mut reader: Reader<I>, sender: AbortOnDropHandle<()>)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    if let Err(error) = sender.await {
        tracing::error!(%error, "the task that sends to a stream's client failed");
    }
    let closing = async { while reader.next().await.is_some() {} };
    if tokio::time::timeout(PARTING, closing).await.is_err() {
        debug!("the client of a stream did not close the connection");
    }
}
