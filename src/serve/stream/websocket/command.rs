//! A command's channels: the first byte of each message is its channel, a digit where messages are base64
//! (`staging/src/k8s.io/cri-streaming/pkg/streaming/remotecommand/websocket.go`, and `wsstream` beside it).

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_websockets::{CloseCode, Message, WebSocketStream};

use super::pings::Pings;
use super::{WebSocketError, serve, take_over};
use crate::serve::stream::command::{FromClient, Parts, ToClient, Version};
use crate::serve::stream::status;
use crate::serve::stream::terminal_size::{self, Sizes};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// The channel that closes another (KEP 4006).
const CLOSE: u8 = 255;

/// One of the protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommandProtocol {
    pub(crate) name: &'static str,
    pub(super) version: Version,
    pub(super) is_base64: bool,
}

impl CommandProtocol {
    /// All of them. Versions 2 and 3 were never spoken over WebSocket.
    pub(crate) const ALL: [CommandProtocol; 6] = [
        CommandProtocol::new(Version::V5.name(), Version::V5, false),
        CommandProtocol::new(Version::V4.name(), Version::V4, false),
        CommandProtocol::new("v4.base64.channel.k8s.io", Version::V4, true),
        CommandProtocol::new(Version::V1.name(), Version::V1, false),
        CommandProtocol::new("base64.channel.k8s.io", Version::V1, true),
        CommandProtocol::new("", Version::V1, false),
    ];

    const fn new(name: &'static str, version: Version, is_base64: bool) -> CommandProtocol {
        CommandProtocol {
            name,
            version,
            is_base64,
        }
    }

    pub(super) fn wrap(self, channel: u8, data: &[u8]) -> Message {
        if self.is_base64 {
            return Message::text(char::from(b'0' + channel).to_string() + &STANDARD.encode(data));
        }
        let mut message = BytesMut::with_capacity(1 + data.len());
        message.put_u8(channel);
        message.put_slice(data);
        Message::binary(message)
    }

    /// The channel and the data of a message; `None`: there is neither.
    fn unwrap(self, message: Message) -> Result<Option<(u8, Bytes)>, WebSocketError> {
        if !message.is_binary() && !message.is_text() {
            return Ok(None);
        }
        let mut data = Bytes::from(message.into_payload());
        if data.is_empty() {
            return Ok(None);
        }
        let channel = data.get_u8();
        if !self.is_base64 {
            return Ok(Some((channel, data)));
        }
        let data = STANDARD
            .decode(&data)
            .map_err(|_| WebSocketError::Protocol("a message is not base64"))?;
        Ok(Some((channel.wrapping_sub(b'0'), data.into())))
    }
}

/// What the client sends.
pub(crate) struct CommandReader<I> {
    messages: SplitStream<WebSocketStream<I>>,
    protocol: CommandProtocol,
    sizes: Sizes,
    pings: Pings,
    read: VecDeque<FromClient>,
}

/// What the client gets.
pub(crate) struct CommandWriter<I> {
    messages: SplitSink<WebSocketStream<I>, Message>,
    protocol: CommandProtocol,
}

/// The streams of a command on an upgraded connection. An empty message shows the client that they are there.
pub(crate) async fn command<I>(
    io: I,
    protocol: CommandProtocol,
    parts: Parts,
) -> Result<(CommandReader<I>, CommandWriter<I>), WebSocketError>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, stream) = serve(io).split();
    let lowest = match () {
        () if parts.stdout => STDOUT,
        () if parts.stderr => STDERR,
        () => ERROR,
    };
    sink.send(protocol.wrap(lowest, &[])).await?;
    let reader = CommandReader {
        messages: stream,
        protocol,
        sizes: Sizes::default(),
        pings: Pings::default(),
        read: VecDeque::new(),
    };
    let messages = sink;
    Ok((reader, CommandWriter { messages, protocol }))
}

impl<I: AsyncRead + AsyncWrite + Unpin> CommandReader<I> {
    /// The next of what the client sends; `None` when it has closed the connection. Nothing is lost if the future is
    /// dropped.
    pub(crate) async fn next(&mut self) -> Result<Option<FromClient>, WebSocketError> {
        loop {
            if let Some(read) = self.read.pop_front() {
                return Ok(Some(read));
            }
            let Some(message) = self.messages.next().await else {
                return Ok(None);
            };
            let message = message?;
            self.pings.check(&message)?;
            let Some((channel, data)) = self.protocol.unwrap(message)? else {
                continue;
            };
            match channel {
                STDIN if !data.is_empty() => self.read.push_back(FromClient::Stdin(data)),
                RESIZE => self.read.extend(self.sizes.read(&data)),
                CLOSE if self.protocol.version >= Version::V5 => match data[..] {
                    [STDIN] => self.read.push_back(FromClient::StdinEnd),
                    [STDOUT..=RESIZE] => {}
                    _ => {
                        return Err(WebSocketError::Protocol(
                            "it closes a channel that does not exist",
                        ));
                    }
                },
                // As the kubelet does with channels that the client may not write to.
                _ => {}
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> CommandWriter<I> {
    /// Sends to the client. [`ToClient::Ended`] is followed by the message that closes the WebSocket.
    pub(crate) async fn send(&mut self, message: ToClient) -> Result<(), WebSocketError> {
        let (channel, data) = match &message {
            // A pong without a ping is answered by nobody (RFC 6455, section 5.5.3).
            ToClient::Heartbeat => return Ok(self.messages.send(Message::pong(Bytes::new())).await?),
            ToClient::Stdout(data) => (STDOUT, data.clone()),
            ToClient::Stderr(data) => (STDERR, data.clone()),
            ToClient::Ended(ended) => (ERROR, status::encode(ended, self.protocol.version)),
        };
        if !data.is_empty() {
            self.messages.send(self.protocol.wrap(channel, &data)).await?;
        }
        if matches!(message, ToClient::Ended(_)) {
            // Without waiting for the client's answer, which only reading sees.
            self.messages
                .send(Message::close(Some(CloseCode::NORMAL_CLOSURE), ""))
                .await?;
        }
        Ok(())
    }
}

/// The client's end, in the newest version: what it gets.
pub(crate) struct ClientReader<I> {
    messages: SplitStream<WebSocketStream<I>>,
}

/// The client's end: what it sends.
pub(crate) struct ClientWriter<I> {
    messages: SplitSink<WebSocketStream<I>, Message>,
}

/// The client's end of a command's streams.
pub(crate) fn as_client<I: AsyncRead + AsyncWrite + Unpin>(io: I) -> (ClientReader<I>, ClientWriter<I>) {
    let (sink, stream) = take_over(io).split();
    (ClientReader { messages: stream }, ClientWriter { messages: sink })
}

impl<I: AsyncRead + AsyncWrite + Unpin> ClientReader<I> {
    /// The next message; `None` when the server has closed the connection.
    pub(crate) async fn next(&mut self) -> Result<Option<ToClient>, WebSocketError> {
        while let Some(message) = self.messages.next().await {
            let Some((channel, data)) = CommandProtocol::ALL[0].unwrap(message?)? else {
                continue;
            };
            match channel {
                _ if data.is_empty() => {}
                STDOUT => return Ok(Some(ToClient::Stdout(data))),
                STDERR => return Ok(Some(ToClient::Stderr(data))),
                ERROR => return Ok(Some(ToClient::Ended(status::decode(&data)))),
                _ => {
                    return Err(WebSocketError::Protocol(
                        "a message on a channel that is the client's",
                    ));
                }
            }
        }
        Ok(None)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> ClientWriter<I> {
    /// Sends to the command.
    pub(crate) async fn send(&mut self, message: FromClient) -> Result<(), WebSocketError> {
        let (channel, data) = match message {
            FromClient::Stdin(data) => (STDIN, data),
            FromClient::StdinEnd => (CLOSE, Bytes::from_static(&[STDIN])),
            FromClient::Resize { columns, rows } => (RESIZE, terminal_size::encode(columns, rows)),
        };
        Ok(self
            .messages
            .send(CommandProtocol::ALL[0].wrap(channel, &data))
            .await?)
    }
}
