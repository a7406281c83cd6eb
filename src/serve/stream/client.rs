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

#[cfg(test)]
mod tests {
    use std::future::pending;

    use bytes::Bytes;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream, UnixStream};

    use super::super::command::{Parts, Version};
    use super::super::heartbeat;
    use super::super::spdy::{self, Role};
    use super::super::websocket::CommandProtocol;
    use super::*;

    const SOON: Duration = Duration::from_secs(20);
    const PARTS: Parts = Parts {
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    };

    /// Whether a client is noticed that has sent more than is taken, and disconnects.
    async fn is_noticed<I>(client: &mut Client<I>) -> bool
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let messages = client.messages.clone();
        let stuck = heartbeat::meanwhile(pending::<()>(), || {
            let _ = messages.try_send(ToClient::Heartbeat);
        });
        tokio::select! {
            () = stuck => unreachable!("it is pending"),
            () = client.messages.closed() => true,
            () = tokio::time::sleep(SOON) => false,
        }
    }

    /// Sends until nothing more is taken.
    async fn flood(mut to: impl AsyncWrite + Unpin) {
        let piece = [0; 64 * 1024];
        let stuck = Duration::from_millis(300);
        while let Ok(written) = tokio::time::timeout(stuck, to.write(&piece)).await {
            written.expect("the other end is open");
        }
    }

    async fn over_websocket<I>(ours: I, mut theirs: I) -> bool
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (reader, writer) = websocket::command(ours, CommandProtocol::ALL[0], PARTS)
            .await
            .expect("the client is there");
        let mut client = Client::new(Reader::WebSocket(reader), Writer::WebSocket(writer));
        // What it leaves unread would reset the connection. The rest is never parsed.
        theirs.read_exact(&mut [0; 3]).await.expect("the first message");
        flood(&mut theirs).await;
        drop(theirs);
        is_noticed(&mut client).await
    }

    async fn over_spdy<I>(ours: I, theirs: I) -> bool
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut events, sender) = spdy::open(theirs, Role::Client);
        let (accepted, opened) = tokio::join!(
            spdy_command::accept(ours, PARTS, Version::V4),
            spdy_command::open((&mut events, &sender), PARTS)
        );
        let (reader, writer) = accepted.expect("the streams are open");
        let mut client = Client::new(Reader::Spdy(Box::new(reader)), Writer::Spdy(writer));
        let stdin = opened
            .expect("the streams are open")
            .stdin
            .expect("it is asked for");
        let piece = || sender.data(stdin, Bytes::from_static(&[0; 16 * 1024]), false);
        while let Ok(sent) = tokio::time::timeout(Duration::from_millis(300), piece()).await {
            sent.expect("the other end is open");
        }
        drop((events, sender));
        is_noticed(&mut client).await
    }

    async fn tcp() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, connected) = tokio::join!(listener.accept(), connecting);
        (accepted.unwrap().0, connected.unwrap())
    }

    #[tokio::test]
    async fn a_client_that_disconnects_behind_input_that_nobody_takes_is_noticed() {
        let tcp_websocket = async {
            let (ours, theirs) = tcp().await;
            over_websocket(ours, theirs).await
        };
        let unix_websocket = async {
            let (ours, theirs) = UnixStream::pair().unwrap();
            over_websocket(ours, theirs).await
        };
        let tcp_spdy = async {
            let (ours, theirs) = tcp().await;
            over_spdy(ours, theirs).await
        };
        let noticed = tokio::join!(tcp_websocket, unix_websocket, tcp_spdy);
        assert_eq!(noticed, (true, true, true));
    }

    #[tokio::test]
    async fn a_client_that_waits_is_not_taken_for_one_that_is_gone() {
        let (ours, mut theirs) = tcp().await;
        let (reader, writer) = websocket::command(ours, CommandProtocol::ALL[0], PARTS)
            .await
            .expect("the client is there");
        let client = Client::new(Reader::WebSocket(reader), Writer::WebSocket(writer));
        theirs.read_exact(&mut [0; 3]).await.expect("the first message");
        flood(&mut theirs).await;
        let stuck = heartbeat::meanwhile(pending::<()>(), || {
            let _ = client.messages.try_send(ToClient::Heartbeat);
        });
        let beats = async {
            for _ in 0..3 {
                let mut beat = [0; 2];
                theirs.read_exact(&mut beat).await.expect("a heartbeat");
                assert_eq!(beat, [0x8a, 0], "an empty pong");
            }
        };
        tokio::select! {
            () = stuck => unreachable!("it is pending"),
            () = client.messages.closed() => panic!("taken for gone"),
            () = beats => {}
        }
    }
}
