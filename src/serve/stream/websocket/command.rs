//! A command's channels (`staging/src/k8s.io/cri-streaming/pkg/streaming/remotecommand/websocket.go`).

use std::collections::VecDeque;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_websockets::{Message, WebSocketStream};

use super::channels::{ChannelReader, ChannelWriter, Codec, channels};
use super::{WebSocketError, take_over};
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
pub struct CommandProtocol {
    /// Its name; empty for clients that name none.
    pub name: &'static str,
    pub(super) version: Version,
    pub(super) codec: Codec,
}

impl CommandProtocol {
    /// All of them. Versions 2 and 3 were never spoken over WebSocket.
    pub const ALL: [CommandProtocol; 6] = [
        CommandProtocol::new(Version::V5.name(), Version::V5, Codec::Binary),
        CommandProtocol::new(Version::V4.name(), Version::V4, Codec::Binary),
        CommandProtocol::new("v4.base64.channel.k8s.io", Version::V4, Codec::Base64),
        CommandProtocol::new(Version::V1.name(), Version::V1, Codec::Binary),
        CommandProtocol::new("base64.channel.k8s.io", Version::V1, Codec::Base64),
        CommandProtocol::new("", Version::V1, Codec::Binary),
    ];

    const fn new(name: &'static str, version: Version, codec: Codec) -> CommandProtocol {
        CommandProtocol { name, version, codec }
    }
}

/// What the client sends.
pub struct CommandReader<I> {
    channels: ChannelReader<I>,
    version: Version,
    sizes: Sizes,
    read: VecDeque<FromClient>,
}

/// What the client gets.
pub struct CommandWriter<I> {
    channels: ChannelWriter<I>,
    version: Version,
}

/// The streams of a command on an upgraded connection. An empty message shows the client that they are there.
pub async fn command<I>(
    io: I,
    protocol: CommandProtocol,
    parts: Parts,
) -> Result<(CommandReader<I>, CommandWriter<I>), WebSocketError>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (channels, mut writer) = channels(io, protocol.codec);
    let version = protocol.version;
    let lowest = match () {
        () if parts.stdout => STDOUT,
        () if parts.stderr => STDERR,
        () => ERROR,
    };
    writer.send(lowest, &[]).await?;
    let reader = CommandReader {
        channels,
        version,
        sizes: Sizes::default(),
        read: VecDeque::new(),
    };
    let channels = writer;
    Ok((reader, CommandWriter { channels, version }))
}

impl<I: AsyncRead + AsyncWrite + Unpin> CommandReader<I> {
    /// The next of what the client sends; `None` when it has closed the connection. Nothing is lost if the future is
    /// dropped.
    pub async fn next(&mut self) -> Result<Option<FromClient>, WebSocketError> {
        loop {
            if let Some(read) = self.read.pop_front() {
                return Ok(Some(read));
            }
            let Some((channel, data)) = self.channels.next().await? else {
                return Ok(None);
            };
            match channel {
                STDIN if !data.is_empty() => self.read.push_back(FromClient::Stdin(data)),
                RESIZE => self.read.extend(self.sizes.read(&data)),
                CLOSE if self.version >= Version::V5 => match data[..] {
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
    pub async fn send(&mut self, message: ToClient) -> Result<(), WebSocketError> {
        let (channel, data) = match &message {
            ToClient::Heartbeat => return self.channels.heartbeat().await,
            ToClient::Stdout(data) => (STDOUT, data.clone()),
            ToClient::Stderr(data) => (STDERR, data.clone()),
            ToClient::Ended(ended) => (ERROR, status::encode(ended, self.version)),
        };
        if !data.is_empty() {
            self.channels.send(channel, &data).await?;
        }
        if matches!(message, ToClient::Ended(_)) {
            self.channels.close().await?;
        }
        Ok(())
    }
}

/// How the newest version, which this client speaks, carries channels.
const NEWEST: Codec = CommandProtocol::ALL[0].codec;

/// The client's end, in the newest version: what it gets.
pub struct ClientReader<I> {
    messages: SplitStream<WebSocketStream<I>>,
}

/// The client's end: what it sends.
pub struct ClientWriter<I> {
    messages: SplitSink<WebSocketStream<I>, Message>,
}

/// The client's end of a command's streams.
pub fn as_client<I: AsyncRead + AsyncWrite + Unpin>(io: I) -> (ClientReader<I>, ClientWriter<I>) {
    let (sink, stream) = take_over(io).split();
    (ClientReader { messages: stream }, ClientWriter { messages: sink })
}

impl<I: AsyncRead + AsyncWrite + Unpin> ClientReader<I> {
    /// The next message; `None` when the server has closed the connection.
    pub async fn next(&mut self) -> Result<Option<ToClient>, WebSocketError> {
        while let Some(message) = self.messages.next().await {
            let Some((channel, data)) = NEWEST.unwrap(message?)? else {
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
    pub async fn send(&mut self, message: FromClient) -> Result<(), WebSocketError> {
        let (channel, data) = match message {
            FromClient::Stdin(data) => (STDIN, data),
            FromClient::StdinEnd => (CLOSE, Bytes::from_static(&[STDIN])),
            FromClient::Resize { columns, rows } => (RESIZE, terminal_size::encode(columns, rows)),
        };
        Ok(self.messages.send(NEWEST.wrap(channel, &data)).await?)
    }
}
