//! A connection with many streams. What it keeps does not grow with their number: whoever uses it knows them.

use std::io;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::frame::{self, Control, HEAD, Head, MAX_DATA, Reason, StreamId};
use super::headers::{Decoder, Encoder, Headers};

/// How much is read from the connection at once.
const READ: usize = 16 * 1024;
/// How many frames may wait to be written, each of at most [`MAX_DATA`]; when it is reached, senders wait.
const QUEUE: usize = 1;

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It opens streams.
    Client,
    /// The peer opens streams.
    Server,
}

/// Why a connection cannot be used any more.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum SpdyError {
    #[error("the connection broke")]
    Io(#[source] Arc<io::Error>),
    #[error("the peer broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("the connection has ended")]
    Ended,
}

impl From<io::Error> for SpdyError {
    fn from(error: io::Error) -> SpdyError {
        SpdyError::Io(Arc::new(error))
    }
}

/// What the peer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It opens a stream.
    Opened {
        /// The stream.
        stream: StreamId,
        /// Its headers.
        headers: Headers,
        /// Whether the peer sends nothing on it.
        ended: bool,
    },
    /// It accepts a stream.
    Accepted {
        /// The stream.
        stream: StreamId,
    },
    /// It sends data on a stream, in pieces of at most 16 KiB. A stream that nobody knows is
    /// not an error: it may just have been reset.
    Data {
        /// The stream.
        stream: StreamId,
        /// The data, which may be empty.
        data: Bytes,
        /// Whether the peer sends nothing more on it.
        ended: bool,
    },
    /// It gives a stream up.
    Reset {
        /// The stream.
        stream: StreamId,
    },
    /// It opens no more streams.
    GoAway,
}

/// What is written by the task that owns the writing half.
enum Command {
    Open {
        headers: Headers,
        ended: bool,
        opened: oneshot::Sender<StreamId>,
    },
    Accept(StreamId),
    Reset(StreamId, Reason),
    Data {
        stream: StreamId,
        data: Bytes,
        ended: bool,
    },
    Pong(u32),
    /// The last command: says that there is nothing more, and shuts the half down.
    Close {
        last: u32,
        is_error: bool,
    },
}

/// What the peer does, read from the connection. Dropping it ends the connection, also for the [`Sender`]s.
pub struct Receiver<I> {
    half: ReadHalf<I>,
    role: Role,
    buffer: BytesMut,
    /// The data frame that is being handed out: its stream, what is missing, and whether it is the last.
    data: Option<(StreamId, usize, bool)>,
    decoder: Decoder,
    /// The last stream that the peer has opened.
    last: u32,
    /// A ping that could not be answered at once, because the peer does not read.
    ping: Option<u32>,
    commands: mpsc::Sender<Command>,
    _writer: AbortOnDropHandle<()>,
}

/// Writes to the connection. Clones share it; frames of one clone keep their order.
#[derive(Debug, Clone)]
pub struct Sender {
    commands: mpsc::Sender<Command>,
}

/// Splits an upgraded connection.
pub fn open<I>(io: I, role: Role) -> (Receiver<I>, Sender)
where
    I: AsyncRead + AsyncWrite + Send + 'static,
{
    let (half, writing) = tokio::io::split(io);
    let (commands, queue) = mpsc::channel(QUEUE);
    let writer = AbortOnDropHandle::new(tokio::spawn(write(writing, queue)));
    let receiver = Receiver {
        half,
        role,
        buffer: BytesMut::new(),
        data: None,
        decoder: Decoder::new(),
        last: 0,
        ping: None,
        commands: commands.clone(),
        _writer: writer,
    };
    (receiver, Sender { commands })
}

impl<I: AsyncRead + AsyncWrite + Send> Receiver<I> {
    /// The next thing that the peer does; `None` at the end of the connection. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Event>, SpdyError> {
        loop {
            self.answer_ping();
            match self.parse() {
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) => {}
                Err(what) => {
                    let (last, is_error) = (self.last, true);
                    // If the queue is full, the peer does not read and will not miss it.
                    let _ = self.commands.try_send(Command::Close { last, is_error });
                    return Err(SpdyError::Protocol(what));
                }
            }
            self.buffer.reserve(READ);
            let mut half = (&mut self.half).take(READ as u64);
            let read = tokio::select! {
                // Cancel-safe: what has been read is in the buffer.
                read = half.read_buf(&mut self.buffer) => read?,
                // There is room for the answer to a ping. A permit that is dropped is given back.
                _ = self.commands.reserve(), if self.ping.is_some() => continue,
            };
            if read == 0 {
                return match self.buffer.is_empty() && self.data.is_none() {
                    true => Ok(None),
                    false => Err(SpdyError::Io(Arc::new(io::ErrorKind::UnexpectedEof.into()))),
                };
            }
        }
    }

    /// A pong goes before what is read next, unless the queue is full; then the latest ping is answered later, as the
    /// peer cannot tell.
    fn answer_ping(&mut self) {
        if let Some(id) = self.ping
            && self.commands.try_send(Command::Pong(id)).is_ok()
        {
            self.ping = None;
        }
    }

    /// Takes the next event out of the buffer; `None`: more must be read.
    fn parse(&mut self) -> Result<Option<Event>, &'static str> {
        loop {
            if let Some((stream, left, ended)) = self.data {
                if self.buffer.is_empty() && left > 0 {
                    return Ok(None);
                }
                let data = self.buffer.split_to(left.min(self.buffer.len())).freeze();
                let left = left - data.len();
                self.data = (left > 0).then_some((stream, left, ended));
                let ended = ended && left == 0;
                return Ok(Some(Event::Data { stream, data, ended }));
            }
            let Some(head) = self.buffer.first_chunk::<HEAD>() else {
                return Ok(None);
            };
            match frame::head(*head)? {
                Head::Data {
                    stream,
                    length,
                    ended,
                } => {
                    self.buffer.advance(HEAD);
                    if length > 0 || ended {
                        self.data = Some((stream, length, ended));
                    }
                }
                Head::Control { kind, flags, length } => {
                    if self.buffer.len() < HEAD + length {
                        return Ok(None);
                    }
                    self.buffer.advance(HEAD);
                    let body = self.buffer.split_to(length).freeze();
                    if let Some(event) = self.control(frame::control(kind, flags, body)?)? {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    fn control(&mut self, control: Control) -> Result<Option<Event>, &'static str> {
        Ok(Some(match control {
            Control::Open { stream, block, ended } => {
                let headers = self.decoder.decode(&block)?;
                let is_of_peer = stream.is_of_client() == (self.role == Role::Server);
                if !is_of_peer || stream.number() <= self.last {
                    return Err("a stream with a number that is not its next one");
                }
                self.last = stream.number();
                Event::Opened {
                    stream,
                    headers,
                    ended,
                }
            }
            Control::Reply { stream, block } => {
                self.decoder.decode(&block)?;
                Event::Accepted { stream }
            }
            Control::Headers { block } => {
                // Nobody asks for them, but the next block builds on this one.
                self.decoder.decode(&block)?;
                return Ok(None);
            }
            Control::Reset { stream } => Event::Reset { stream },
            Control::GoAway => Event::GoAway,
            Control::Ping(id) => {
                // An even number answers a ping of the server, of which there are none here.
                let is_of_peer = (id % 2 == 1) == (self.role == Role::Server);
                if is_of_peer {
                    self.ping = Some(id);
                    self.answer_ping();
                }
                return Ok(None);
            }
            Control::Other => return Ok(None),
        }))
    }
}

impl Sender {
    /// Opens a stream. It can be written to before the peer accepts it.
    pub async fn open_stream(&self, headers: Headers, ended: bool) -> Result<StreamId, SpdyError> {
        let (opened, stream) = oneshot::channel();
        self.send(Command::Open {
            headers,
            ended,
            opened,
        })
        .await?;
        stream.await.map_err(|_| SpdyError::Ended)
    }

    /// Accepts a stream that the peer has opened.
    pub async fn accept(&self, stream: StreamId) -> Result<(), SpdyError> {
        self.send(Command::Accept(stream)).await
    }

    /// Refuses a stream that the peer has opened.
    pub async fn refuse(&self, stream: StreamId) -> Result<(), SpdyError> {
        self.send(Command::Reset(stream, Reason::Refused)).await
    }

    /// Gives a stream up.
    pub async fn reset(&self, stream: StreamId) -> Result<(), SpdyError> {
        self.send(Command::Reset(stream, Reason::Cancel)).await
    }

    /// Sends data; `ended`: nothing more will be sent on this stream. Waits while the peer does not read.
    pub async fn data(&self, stream: StreamId, mut data: Bytes, ended: bool) -> Result<(), SpdyError> {
        while data.len() > MAX_DATA {
            let data = data.split_to(MAX_DATA);
            let ended = false;
            self.send(Command::Data { stream, data, ended }).await?;
        }
        self.send(Command::Data { stream, data, ended }).await
    }

    /// Sends a frame without data on this stream, to see whether the peer is still there; not if something else is about
    /// to be sent.
    pub fn heartbeat(&self, stream: StreamId) {
        let (data, ended) = (Bytes::new(), false);
        let _ = self.commands.try_send(Command::Data { stream, data, ended });
    }

    /// Completes when nothing can be sent any more, because the peer is gone.
    pub async fn closed(&self) {
        self.commands.closed().await;
    }

    /// Ends what is sent on the connection, and waits until it has left. The peer can still be read from.
    pub async fn close(&self) -> Result<(), SpdyError> {
        let (last, is_error) = (0, false);
        self.send(Command::Close { last, is_error }).await?;
        self.commands.closed().await;
        Ok(())
    }

    async fn send(&self, command: Command) -> Result<(), SpdyError> {
        self.commands.send(command).await.map_err(|_| SpdyError::Ended)
    }
}

/// Writes commands until the last one, or until the connection breaks, which its reader sees, too.
async fn write<I: AsyncRead + AsyncWrite>(mut half: WriteHalf<I>, mut queue: mpsc::Receiver<Command>) {
    let (mut encoder, mut next) = (Encoder::default(), StreamId::FIRST);
    while let Some(command) = queue.recv().await {
        let is_last = matches!(command, Command::Close { .. });
        let (head, data) = match command {
            Command::Open {
                headers,
                ended,
                opened,
            } => {
                let block = encoder.encode(&headers);
                let stream = next;
                next = stream.next();
                // The opener may not wait for it any more.
                let _ = opened.send(stream);
                (frame::open(stream, &block, ended), Bytes::new())
            }
            Command::Accept(stream) => (
                frame::reply(stream, &encoder.encode(&Headers::default())),
                Bytes::new(),
            ),
            Command::Reset(stream, reason) => (frame::reset(stream, reason), Bytes::new()),
            Command::Data { stream, data, ended } => (frame::data(stream, data.len(), ended), data),
            Command::Pong(id) => (frame::ping(id), Bytes::new()),
            Command::Close { last, is_error } => (frame::go_away(last, is_error), Bytes::new()),
        };
        let written = async {
            let mut frame = head.chain(data);
            half.write_all_buf(&mut frame).await?;
            match is_last {
                true => half.shutdown().await,
                // A frame that is followed by another leaves with it.
                false if queue.is_empty() => half.flush().await,
                false => Ok(()),
            }
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "cannot write to a connection with streams");
            return;
        }
        if is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
