//! Carries attached streams between their client and the runtime.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tracing::debug;

use super::ended::ended_at;
use super::upstream::{self, Upstream, UpstreamError};
use crate::cri::Runtime;
use crate::model::error_chain::chain;
use crate::model::runtime::Snapshot;
use crate::serve::stream::client::{Client, Reader};
use crate::serve::stream::command::{Ended, FromClient, Parts, ToClient};
use crate::serve::stream::heartbeat;
use crate::serve::stream::lifetime::{Cut, Lifetime};
use crate::serve::stream::spdy::{self, Event, SpdyError};
use crate::serve::stream::spdy_command::Streams;
use crate::serve::stream::{status, terminal_size};
use crate::serve::world::FAREWELL;

/// How much the runtime may say about the end.
const MAX_STATUS: usize = 64 * 1024;

/// Why attached streams ended early.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("the runtime ended the connection; is it restarting?")]
    Lost,
    #[error("the connection to the runtime broke")]
    Broken(#[source] SpdyError),
    #[error("the container ended as it was attached to; what it printed is in its log")]
    TooLate,
    #[error("{0}")]
    Cut(Cut),
}

impl From<SpdyError> for SessionError {
    fn from(error: SpdyError) -> SessionError {
        match error {
            // How a connection ends does not depend on who ends it, but on what was under way.
            SpdyError::Io(_) | SpdyError::Ended => {
                debug!(%error, "the connection to the runtime ended");
                SessionError::Lost
            }
            SpdyError::Protocol(_) => SessionError::Broken(error),
        }
    }
}

/// Attaches until the container's output ends, the client is gone, or the stream is cut. The last message says how.
///
/// The runtime attaches to a process that has just ended as to one that prints nothing, or says that it has no such task.
/// Here both are one failure, reported once the snapshot has the end, so that clients show the log instead, as `kubectl
/// debug` and `kubectl run` do.
pub(super) async fn run<I>(
    mut client: Client<I>,
    (runtime, snapshots): (&Runtime, watch::Receiver<Arc<Snapshot>>),
    container: &str,
    parts: Parts,
    lifetime: &Lifetime,
) where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let attached = tokio::select! {
        attached = upstream::attach(runtime, container, parts) => attached.map_err(SessionError::from),
        // Dropped with the connection to the runtime.
        why = lifetime.cut() => Err(SessionError::Cut(why)),
    };
    let since = Timestamp::now();
    let ended = match attached {
        Ok(upstream) => carry(upstream, &mut client, lifetime).await,
        Err(error) => Err(error),
    };
    let may_be_late = match &ended {
        Ok(Carried::Nothing(_)) => true,
        // The runtime knows of the end already.
        Err(SessionError::Upstream(error)) => error.is_answer(),
        Ok(Carried::To(_)) | Err(_) => false,
    };
    let ended = match ended {
        _ if may_be_late && ended_at(snapshots, container, since).await => Err(SessionError::TooLate),
        Ok(Carried::Nothing(ended) | Carried::To(ended)) => Ok(ended),
        Err(error) => Err(error),
    };
    let was_cut = matches!(ended, Err(SessionError::Cut(_)));
    let ended = ended.unwrap_or_else(|failure| {
        Ended::Failed(format!(
            "Internal error occurred: error attaching to container: {}",
            chain(&failure)
        ))
    });
    client.end(ended, was_cut, lifetime).await;
}

/// What was carried to the client.
#[derive(Debug, PartialEq, Eq)]
enum Carried {
    /// Nothing: the runtime has ended the streams without any output, in this way.
    Nothing(Ended),
    /// All that there was, until this end.
    To(Ended),
}

async fn carry<I>(
    upstream: Upstream,
    client: &mut Client<I>,
    lifetime: &Lifetime,
) -> Result<Carried, SessionError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Client { reader, messages, .. } = client;
    let Upstream {
        events,
        sender,
        streams,
    } = upstream;
    tokio::select! {
        // Whichever ends first ends the session; what the others still hold is for nobody then.
        ended = output(events, &streams, messages) => ended,
        // The client is gone; what it has sent before still arrives.
        fed = feed(reader, messages, &sender, &streams) => {
            let _ = tokio::time::timeout(FAREWELL, sender.close()).await;
            fed.map(|()| Carried::To(Ended::Exited(0)))
        }
        () = messages.closed() => Ok(Carried::To(Ended::Exited(0))),
        why = lifetime.cut() => Err(SessionError::Cut(why)),
    }
}

/// How the streams ended by the runtime's status.
fn carried(status: &[u8], has_output: bool) -> Carried {
    match status::decode(status) {
        ended if has_output => Carried::To(ended),
        ended => Carried::Nothing(ended),
    }
}

/// Passes the container's output on until the runtime says how it ended.
async fn output<I>(
    mut events: spdy::Receiver<I>,
    streams: &Streams,
    messages: &mpsc::Sender<ToClient>,
) -> Result<Carried, SessionError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut status = BytesMut::new();
    let mut has_output = false;
    while let Some(event) = events.next().await? {
        let Event::Data { stream, data, ended } = event else {
            continue;
        };
        let is = |wanted: Option<spdy::StreamId>| wanted == Some(stream);
        if is(streams.error) {
            let room = MAX_STATUS.saturating_sub(status.len());
            status.extend_from_slice(&data[..data.len().min(room)]);
            // containerd writes it at once; older versions leave the stream open and close the connection.
            if ended || status::is_whole(&status) {
                return Ok(carried(&status, has_output));
            }
        } else if !data.is_empty() && (is(streams.stdout) || is(streams.stderr)) {
            let wrap = if is(streams.stdout) {
                ToClient::Stdout
            } else {
                ToClient::Stderr
            };
            has_output = true;
            // It fails when the client is gone, which ends the session elsewhere.
            let _ = messages.send(wrap(data)).await;
        }
    }
    match status.is_empty() {
        true => Err(SessionError::Lost),
        false => Ok(carried(&status, has_output)),
    }
}

/// Passes what the client sends to the container until the client is gone. While the container does not read its input,
/// the client is sent heartbeats, which fail when it has disconnected.
async fn feed<I>(
    reader: &mut Reader<I>,
    messages: &mpsc::Sender<ToClient>,
    sender: &spdy::Sender,
    streams: &Streams,
) -> Result<(), SessionError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    while let Some(message) = reader.next().await {
        let (stream, data, ended) = match message {
            FromClient::Stdin(data) => (streams.stdin, data, false),
            FromClient::StdinEnd => (streams.stdin, Bytes::new(), true),
            FromClient::Resize { columns, rows } => {
                (streams.resize, terminal_size::encode(columns, rows), false)
            }
        };
        if let Some(stream) = stream {
            let passed = heartbeat::meanwhile(sender.data(stream, data, ended), || {
                let _ = messages.try_send(ToClient::Heartbeat);
            });
            passed.await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_ends_without_output_may_be_an_attachment_to_a_process_that_has_ended() {
        let text = "failed to load task: no running task found: task 0123 not found: not found";
        let failure = format!(r#"{{"status": "Failure", "message": "{text}"}}"#);
        let failed = || Ended::Failed(text.to_owned());
        assert_eq!(carried(failure.as_bytes(), false), Carried::Nothing(failed()));
        assert_eq!(carried(failure.as_bytes(), true), Carried::To(failed()));
        let success = br#"{"status": "Success"}"#;
        assert_eq!(carried(success, false), Carried::Nothing(Ended::Exited(0)));
        assert_eq!(carried(success, true), Carried::To(Ended::Exited(0)));
    }
}
