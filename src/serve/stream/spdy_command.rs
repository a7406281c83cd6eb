//! A command's streams over SPDY: one stream each for input, output, error output, the size of the terminal, and how the
//! command ended. The client opens them, each with its kind in the header `streamType`
//! (`createHTTPStreamStreams` in `staging/src/k8s.io/cri-streaming/pkg/streaming/remotecommand/httpstream.go`).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::command::{Ended, FromClient, Parts, ToClient, Version};
use super::spdy::{self, Event, Headers, Role, SpdyError, StreamId};
use super::status;
use super::terminal_size::Sizes;

/// How long a client may take to open the streams that its request names (`DefaultStreamCreationTimeout`).
const CREATION: Duration = Duration::from_secs(30);
/// How much a client may send on some streams before it has opened all of them.
const MAX_EARLY: usize = 64 * 1024;
/// In how many pieces, each of which holds a buffer of what was read.
const MAX_EARLY_PIECES: usize = 16;

/// The header that says what a stream is for.
const STREAM_TYPE: &str = "streamType";

/// Why the streams are not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("the streams were not open within {} s", CREATION.as_secs())]
    Late,
    #[error("the peer ended the connection before the streams were open")]
    Gone,
    #[error("the peer refused a stream")]
    Refused,
    #[error("the client sent more than {MAX_EARLY} bytes before it had opened its streams")]
    Early,
    #[error(transparent)]
    Spdy(#[from] SpdyError),
}

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stdin,
    Stdout,
    Stderr,
    Error,
    Resize,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Stdin, Kind::Stdout, Kind::Stderr, Kind::Error, Kind::Resize];

    fn name(self) -> &'static str {
        match self {
            Kind::Stdin => "stdin",
            Kind::Stdout => "stdout",
            Kind::Stderr => "stderr",
            Kind::Error => "error",
            Kind::Resize => "resize",
        }
    }

    fn of(headers: &Headers) -> Option<Kind> {
        let name = headers.get(STREAM_TYPE)?;
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The streams that the client has opened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams {
    pub(crate) stdin: Option<StreamId>,
    pub(crate) stdout: Option<StreamId>,
    pub(crate) stderr: Option<StreamId>,
    pub(crate) error: Option<StreamId>,
    pub(crate) resize: Option<StreamId>,
}

impl Streams {
    fn place(&mut self, kind: Kind) -> &mut Option<StreamId> {
        match kind {
            Kind::Stdin => &mut self.stdin,
            Kind::Stdout => &mut self.stdout,
            Kind::Stderr => &mut self.stderr,
            Kind::Error => &mut self.error,
            Kind::Resize => &mut self.resize,
        }
    }

    fn all(&self) -> impl Iterator<Item = StreamId> {
        let all = [self.stdin, self.stdout, self.stderr, self.error, self.resize];
        all.into_iter().flatten()
    }

    fn are_complete(&self, parts: Parts, version: Version) -> bool {
        let has = |wanted: bool, stream: Option<StreamId>| !wanted || stream.is_some();
        self.error.is_some()
            && has(parts.stdin, self.stdin)
            && has(parts.stdout, self.stdout)
            && has(parts.stderr, self.stderr)
            && has(parts.tty && version >= Version::V3, self.resize)
    }
}

/// What the client sends.
pub(crate) struct Reader<I> {
    events: spdy::Receiver<I>,
    sender: spdy::Sender,
    streams: Streams,
    sizes: Sizes,
    /// Already read, the oldest first.
    early: VecDeque<FromClient>,
}

/// What the client gets.
pub(crate) struct Writer {
    sender: spdy::Sender,
    streams: Streams,
    version: Version,
}

/// Opens the streams of a command as the client of a connection that has just begun, and waits until they are accepted:
/// moby/spdystream drops what comes before.
pub(crate) async fn open<I>(
    (events, sender): (&mut spdy::Receiver<I>, &spdy::Sender),
    parts: Parts,
) -> Result<Streams, OpenError>
where
    I: AsyncRead + AsyncWrite + Send,
{
    let opened = tokio::time::timeout(CREATION, async {
        let streams = open_all(sender, parts).await?;
        let mut missing = streams.all().count();
        while missing > 0 {
            match events.next().await?.ok_or(OpenError::Gone)? {
                Event::Accepted { .. } => missing -= 1,
                Event::Reset { .. } => return Err(OpenError::Refused),
                // Nothing else is sent before.
                _ => {}
            }
        }
        Ok(streams)
    });
    opened.await.map_err(|_| OpenError::Late)?
}

async fn open_all(sender: &spdy::Sender, parts: Parts) -> Result<Streams, SpdyError> {
    let mut streams = Streams::default();
    let wanted = [
        (Kind::Error, true),
        (Kind::Stdin, parts.stdin),
        (Kind::Stdout, parts.stdout),
        (Kind::Stderr, parts.stderr),
        (Kind::Resize, parts.tty),
    ];
    for (kind, _) in wanted.into_iter().filter(|(_, is_wanted)| *is_wanted) {
        let headers = Headers::from_iter([(STREAM_TYPE, kind.name())]);
        *streams.place(kind) = Some(sender.open_stream(headers, false).await?);
    }
    Ok(streams)
}

/// Waits until the client has opened the streams that its request names.
pub(crate) async fn accept<I>(io: I, parts: Parts, version: Version) -> Result<(Reader<I>, Writer), OpenError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (events, sender) = spdy::open(io, Role::Server);
    let mut reader = Reader {
        events,
        sender: sender.clone(),
        streams: Streams::default(),
        sizes: Sizes::default(),
        early: VecDeque::new(),
    };
    let opened = tokio::time::timeout(CREATION, reader.collect(parts, version));
    opened.await.map_err(|_| OpenError::Late)??;
    let writer = Writer {
        sender,
        streams: reader.streams.clone(),
        version,
    };
    Ok((reader, writer))
}

impl<I: AsyncRead + AsyncWrite + Send + Unpin + 'static> Reader<I> {
    async fn collect(&mut self, parts: Parts, version: Version) -> Result<(), OpenError> {
        let mut early = 0;
        while !self.streams.are_complete(parts, version) {
            let event = self.events.next().await?.ok_or(OpenError::Gone)?;
            if let Event::Opened { stream, headers, .. } = &event {
                let place = Kind::of(headers).map(|kind| self.streams.place(kind));
                match place {
                    Some(place @ None) => {
                        *place = Some(*stream);
                        self.sender.accept(*stream).await?;
                    }
                    // A kind that nobody knows, or a second stream of one kind.
                    _ => self.sender.refuse(*stream).await?,
                }
            }
            for read in self.read(event) {
                if let FromClient::Stdin(data) = &read {
                    early += data.len();
                }
                self.early.push_back(read);
            }
            if early > MAX_EARLY || self.early.len() > MAX_EARLY_PIECES {
                return Err(OpenError::Early);
            }
        }
        Ok(())
    }

    /// The next of what the client sends; `None` when it is gone. Nothing is lost if the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Option<FromClient>, SpdyError> {
        loop {
            if let Some(read) = self.early.pop_front() {
                return Ok(Some(read));
            }
            let Some(event) = self.events.next().await? else {
                return Ok(None);
            };
            if let Event::Opened { stream, .. } = event {
                self.sender.refuse(stream).await?;
                continue;
            }
            let read = self.read(event);
            self.early.extend(read);
        }
    }

    fn read(&mut self, event: Event) -> Vec<FromClient> {
        let stdin = |stream: StreamId| self.streams.stdin == Some(stream);
        match event {
            Event::Opened {
                stream, ended: true, ..
            }
            | Event::Reset { stream }
                if stdin(stream) =>
            {
                vec![FromClient::StdinEnd]
            }
            Event::Data { stream, data, ended } if stdin(stream) => {
                let data = (!data.is_empty()).then_some(FromClient::Stdin(data));
                let end = ended.then_some(FromClient::StdinEnd);
                data.into_iter().chain(end).collect()
            }
            Event::Data { stream, data, .. } if self.streams.resize == Some(stream) => {
                self.sizes.read(&data).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Writer {
    /// Sends to the client. After [`ToClient::Ended`] the streams and the connection are closed.
    pub(crate) async fn send(&mut self, message: ToClient) -> Result<(), SpdyError> {
        match message {
            ToClient::Stdout(data) => self.data(self.streams.stdout, data).await,
            ToClient::Stderr(data) => self.data(self.streams.stderr, data).await,
            ToClient::Heartbeat => match self.streams.error {
                Some(stream) => self.sender.data(stream, Bytes::new(), false).await,
                None => Ok(()),
            },
            ToClient::Ended(ended) => self.end(&ended).await,
        }
    }

    async fn data(&self, stream: Option<StreamId>, data: Bytes) -> Result<(), SpdyError> {
        match stream {
            Some(stream) if !data.is_empty() => self.sender.data(stream, data, false).await,
            // The client did not ask for it.
            _ => Ok(()),
        }
    }

    async fn end(&self, ended: &Ended) -> Result<(), SpdyError> {
        let streams = &self.streams;
        for stream in [streams.stdout, streams.stderr].into_iter().flatten() {
            self.sender.data(stream, Bytes::new(), true).await?;
        }
        let status = status::encode(ended, self.version);
        for (stream, data) in [
            (streams.error, status),
            (streams.stdin, Bytes::new()),
            (streams.resize, Bytes::new()),
        ] {
            if let Some(stream) = stream {
                self.sender.data(stream, data, true).await?;
            }
        }
        self.sender.close().await
    }
}
