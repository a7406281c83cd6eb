//! Messages of which each names its channel: its first byte, or a digit where messages are base64 (`wsstream` in
//! `staging/src/k8s.io/streaming/pkg/httpstream`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_websockets::{CloseCode, Message, WebSocketStream};

use super::pings::Pings;
use super::{WebSocketError, serve};

/// How a message carries its channel and data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// As bytes.
    Binary,
    /// As text: a digit, or a character after the digits, and base64. There are characters for [`Codec::CHANNELS`].
    Base64,
}

impl Codec {
    /// How many channels both can name.
    pub(crate) const CHANNELS: u8 = 128 - b'0';

    pub(super) fn wrap(self, channel: u8, data: &[u8]) -> Message {
        match self {
            Codec::Base64 => Message::text(char::from(b'0' + channel).to_string() + &STANDARD.encode(data)),
            Codec::Binary => {
                let mut message = BytesMut::with_capacity(1 + data.len());
                message.put_u8(channel);
                message.put_slice(data);
                Message::binary(message)
            }
        }
    }

    /// The channel and the data of a message; `None`: there is neither.
    pub(super) fn unwrap(self, message: Message) -> Result<Option<(u8, Bytes)>, WebSocketError> {
        if !message.is_binary() && !message.is_text() {
            return Ok(None);
        }
        let mut data = Bytes::from(message.into_payload());
        if data.is_empty() {
            return Ok(None);
        }
        let channel = data.get_u8();
        if self == Codec::Binary {
            return Ok(Some((channel, data)));
        }
        let data = STANDARD
            .decode(&data)
            .map_err(|_| WebSocketError::Protocol("a message is not base64"))?;
        Ok(Some((channel.wrapping_sub(b'0'), data.into())))
    }
}

/// What the client sends.
pub(crate) struct ChannelReader<I> {
    messages: SplitStream<WebSocketStream<I>>,
    codec: Codec,
    pings: Pings,
}

/// What the client gets.
pub(crate) struct ChannelWriter<I> {
    messages: SplitSink<WebSocketStream<I>, Message>,
    codec: Codec,
}

/// The channels of an upgraded connection.
pub(crate) fn channels<I>(io: I, codec: Codec) -> (ChannelReader<I>, ChannelWriter<I>)
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (sink, stream) = serve(io).split();
    let reader = ChannelReader {
        messages: stream,
        codec,
        pings: Pings::default(),
    };
    let messages = sink;
    (reader, ChannelWriter { messages, codec })
}

impl<I: AsyncRead + AsyncWrite + Unpin> ChannelReader<I> {
    /// The next message's channel and data, which may be empty; `None` when the client has closed the connection. Nothing
    /// is lost if the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Option<(u8, Bytes)>, WebSocketError> {
        while let Some(message) = self.messages.next().await {
            let message = message?;
            self.pings.check(&message)?;
            if let Some(read) = self.codec.unwrap(message)? {
                return Ok(Some(read));
            }
        }
        Ok(None)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> ChannelWriter<I> {
    pub(crate) async fn send(&mut self, channel: u8, data: &[u8]) -> Result<(), WebSocketError> {
        Ok(self.messages.send(self.codec.wrap(channel, data)).await?)
    }

    /// Sends a pong without a ping, which nobody answers (RFC 6455, section 5.5.3), to see whether the client is still
    /// there.
    pub(crate) async fn heartbeat(&mut self) -> Result<(), WebSocketError> {
        Ok(self.messages.send(Message::pong(Bytes::new())).await?)
    }

    /// Sends the message that closes the WebSocket, without waiting for the client's answer, which only reading sees.
    pub(crate) async fn close(&mut self) -> Result<(), WebSocketError> {
        let close = Message::close(Some(CloseCode::NORMAL_CLOSURE), "");
        Ok(self.messages.send(close).await?)
    }
}
