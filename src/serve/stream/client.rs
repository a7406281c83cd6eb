//! The client of a command, whatever it speaks.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::command::{Ended, FromClient, ToClient};
use super::lifetime::Lifetime;
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

/// The client while a session goes on.
pub(crate) struct Client<I> {
    pub(crate) reader: Reader<I>,
    /// What is sent to it, one message after the other; closed when it is gone.
    pub(crate) messages: mpsc::Sender<ToClient>,
    sender: AbortOnDropHandle<()>,
}

impl<I: AsyncRead + AsyncWrite + Send + Unpin + 'static> Client<I> {
    pub(crate) fn new(reader: Reader<I>, writer: Writer<I>) -> Client<I> {
        let (messages, queue) = mpsc::channel(1);
        Client {
            reader,
            messages,
            sender: AbortOnDropHandle::new(tokio::spawn(send(writer, queue))),
        }
    }

    /// Ends the session: sends what is left and how it ended, however slowly the client reads, then reads until the client
    /// closes the connection. `was_cut`: the stream has been cut, and has little time left.
    pub(crate) async fn end(self, ended: Ended, was_cut: bool, lifetime: &Lifetime) {
        let Client {
            mut reader,
            messages,
            sender,
        } = self;
        let parting = async {
            // It fails if the client is gone, which needs no answer then.
            let _ = messages.send(ToClient::Ended(ended)).await;
            drop(messages);
            if let Err(error) = sender.await {
                tracing::error!(%error, "the task that sends to a stream's client failed");
            }
            let closing = async { while reader.next().await.is_some() {} };
            if tokio::time::timeout(PARTING, closing).await.is_err() {
                debug!("the client of a stream did not close the connection");
            }
        };
        lifetime.part(was_cut, parting).await;
    }
}

/// Sends messages to the client until there are no more, or the client is gone.
async fn send<I>(mut writer: Writer<I>, mut queue: mpsc::Receiver<ToClient>)
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
