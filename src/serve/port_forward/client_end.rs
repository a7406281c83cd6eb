//! The client's end of one forwarded connection: two streams of SPDY, or two channels of a WebSocket.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::pairs::Pair;
use crate::serve::stream::spdy::{self, SpdyError};

/// The client is gone.
#[derive(Debug, thiserror::Error)]
#[error("the client of a forwarded connection is gone")]
pub(super) struct ClientGone;

impl From<SpdyError> for ClientGone {
    fn from(_: SpdyError) -> ClientGone {
        // Writing fails in no other way; why the connection broke is for its reader.
        ClientGone
    }
}

/// What is sent over a WebSocket.
#[derive(Debug)]
pub(super) enum ToChannel {
    /// Data on the channel of this number.
    Data(u8, Bytes),
    /// Nothing: sent to see whether the client is still there.
    Heartbeat,
}

/// The client's end.
#[derive(Debug)]
pub(super) enum ClientEnd {
    Streams {
        sender: spdy::Sender,
        pair: Pair,
    },
    /// Channels cannot be closed one by one: their end is that of the WebSocket, which comes with the last connection.
    Channels {
        messages: mpsc::Sender<ToChannel>,
        data: u8,
        error: u8,
    },
}

impl ClientEnd {
    /// Passes data of the pod on; `is_end`: the last.
    pub(super) async fn data(&self, bytes: Bytes, is_end: bool) -> Result<(), ClientGone> {
        match self {
            ClientEnd::Streams { sender, pair } => Ok(sender.data(pair.data, bytes, is_end).await?),
            ClientEnd::Channels { messages, data, .. } => send(messages, *data, bytes).await,
        }
    }

    /// Ends the connection, of whose data the end has been sent. kubectl keeps its end open until the error stream ends.
    pub(super) async fn end(&self) -> Result<(), ClientGone> {
        match self {
            ClientEnd::Streams { sender, pair } => Ok(sender.data(pair.error, Bytes::new(), true).await?),
            ClientEnd::Channels { .. } => Ok(()),
        }
    }

    /// Ends a connection that could not be made.
    pub(super) async fn refuse(&self, text: String) -> Result<(), ClientGone> {
        match self {
            ClientEnd::Streams { sender, pair } => {
                sender.data(pair.error, text.into(), true).await?;
                Ok(sender.reset(pair.data).await?)
            }
            ClientEnd::Channels { messages, error, .. } => send(messages, *error, text.into()).await,
        }
    }

    /// Ends a connection that broke. Over SPDY it ends like one of TCP, without a text.
    pub(super) async fn reset(&self, text: String) -> Result<(), ClientGone> {
        match self {
            ClientEnd::Streams { sender, pair } => {
                sender.reset(pair.data).await?;
                self.end().await
            }
            ClientEnd::Channels { messages, error, .. } => send(messages, *error, text.into()).await,
        }
    }
}

async fn send(messages: &mpsc::Sender<ToChannel>, channel: u8, data: Bytes) -> Result<(), ClientGone> {
    match data.is_empty() {
        true => Ok(()),
        false => messages
            .send(ToChannel::Data(channel, data))
            .await
            .map_err(|_| ClientGone),
    }
}
