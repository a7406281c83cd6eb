//! Carries the streams of a command between its client and its pipes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;

use super::pipes::Input;
use super::process::ExecRequest;
use super::task::{self, ExecError, ExecPlace, Running, Streams};
use crate::model::error_chain::chain;
use crate::serve::stream::client::{Client, Reader};
use crate::serve::stream::command::{Ended, FromClient, ToClient};
use crate::serve::stream::heartbeat;
use crate::serve::stream::lifetime::{Cut, Lifetime};

/// How much is read from a pipe at once. With a queue of one, a client that reads slowly costs five of these at most: one
/// being read from each of two pipes, one waiting, one being framed, one being sent.
const CHUNK: usize = 12 * 1024;

/// What the message about a command that could not be run begins with, as the kubelet's does.
pub(crate) const NOT_RUN: &str = "Internal error occurred: error executing command in container: ";

/// How long the output of a process that has ended must be silent before its children are not waited for.
const QUIET: Duration = Duration::from_millis(250);

/// Runs the command to its end. The last message says how it ended.
pub(super) async fn run<I>(
    mut client: Client<I>,
    place: &ExecPlace,
    container: &str,
    request: &ExecRequest,
    lifetime: &Lifetime,
) where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let ended = match task::start(place, container, request).await {
        Ok((running, streams)) => carry(running, streams, &mut client, lifetime).await,
        Err(error) => Err(error.into()),
    };
    let was_cut = matches!(ended, Err(SessionError::Cut(_)));
    let ended = match ended {
        Ok(code) => Ended::Exited(code),
        Err(failure) => Ended::Failed(format!("{NOT_RUN}{}", chain(&failure))),
    };
    client.end(ended, was_cut, lifetime).await;
}

/// Why the exit code of a command is unknown.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error("the command was killed: {0}")]
    Cut(Cut),
}

/// Carries data until the process has ended and its output is sent. If the client is gone or the stream is cut, the
/// process is killed: no client would ever see its output.
async fn carry<I>(
    running: Running,
    streams: Streams,
    client: &mut Client<I>,
    lifetime: &Lifetime,
) -> Result<u32, SessionError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Client { reader, messages, .. } = client;
    let (mut output, progress) = (JoinSet::new(), Arc::new(Progress::default()));
    output.spawn(copy(
        streams.stdout,
        messages.clone(),
        ToClient::Stdout,
        progress.clone(),
    ));
    if let Some(stderr) = streams.stderr {
        output.spawn(copy(stderr, messages.clone(), ToClient::Stderr, progress.clone()));
    }
    let (mut stdin, mut cut) = (streams.stdin, None);
    let code = tokio::select! {
        // `wait` is dropped here only to be called again below.
        code = running.wait() => code,
        // Ends when the client is gone; dropped when the process ends first.
        () = feed(reader, messages, &mut stdin, &running) => running.end_early().await,
        // As above.
        () = messages.closed() => running.end_early().await,
        // As above.
        why = lifetime.cut() => {
            cut = Some(why);
            running.end_early().await
        }
    };
    drop(stdin);
    // Before the process is removed: the shim passes on what is left for ten seconds only, however slowly the client reads.
    if cut.is_none() && code.is_ok() {
        tokio::select! {
            () = drain(&mut output, &progress) => {}
            // The client does not read what is left.
            why = lifetime.cut() => cut = Some(why),
        }
    }
    let ended = running.end().await;
    if let Err(error) = &ended {
        debug!(%error, "cannot delete the exec process after it exited");
    }
    // Without containerd nothing closes the pipes, and a stream that was cut is not waited for.
    if cut.is_none() && code.is_ok() && ended.is_ok() {
        tokio::select! {
            () = async { while output.join_next().await.is_some() {} } => {}
            why = lifetime.cut() => cut = Some(why),
        }
    }
    output.shutdown().await;
    match cut {
        Some(cut) => Err(SessionError::Cut(cut)),
        None => Ok(code?),
    }
}

/// How far the output has been read.
#[derive(Debug, Default)]
struct Progress {
    reads: AtomicUsize,
    /// How many pieces wait for the client.
    waiting: AtomicUsize,
}

/// Waits for the end of the output. A child of the process may keep it open for ever: it is not waited for once it has been
/// quiet for [`QUIET`] with nothing waiting for the client.
async fn drain(output: &mut JoinSet<()>, progress: &Progress) {
    loop {
        let before = progress.reads.load(Ordering::Relaxed);
        tokio::select! {
            // Loses nothing when dropped.
            ended = output.join_next() => if ended.is_none() {
                return;
            },
            () = tokio::time::sleep(QUIET) => {
                let is_quiet = progress.reads.load(Ordering::Relaxed) == before;
                if is_quiet && progress.waiting.load(Ordering::Relaxed) == 0 {
                    return;
                }
            }
        }
    }
}

/// Copies one pipe into messages until its end. When no receiver takes messages any more, the rest is read and
/// discarded, so that the process does not block in the middle of a line before it is killed.
async fn copy(
    mut pipe: impl AsyncRead + Unpin,
    messages: mpsc::Sender<ToClient>,
    wrap: fn(Bytes) -> ToClient,
    progress: Arc<Progress>,
) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        let mut chunk = (&mut pipe).take(CHUNK as u64);
        match chunk.read_buf(&mut buffer).await {
            Ok(0) => return,
            Ok(_) => {
                progress.waiting.fetch_add(1, Ordering::Relaxed);
                progress.reads.fetch_add(1, Ordering::Relaxed);
                // It fails when the receiver is gone with the client; reading continues.
                let _ = messages.send(wrap(buffer.split().freeze())).await;
                progress.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            Err(error) => {
                debug!(%error, "cannot read the output of the exec process");
                return;
            }
        }
    }
}

/// Passes what the client sends to the process until the client is gone. While the process does not read its input,
/// the client is sent heartbeats, which fail when it has disconnected.
async fn feed<I>(
    reader: &mut Reader<I>,
    messages: &mpsc::Sender<ToClient>,
    stdin: &mut Option<Input>,
    running: &Running,
) where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    while let Some(message) = reader.next().await {
        let done = heartbeat::meanwhile(pass(message, stdin, running), || {
            let _ = messages.try_send(ToClient::Heartbeat);
        });
        if let Err(error) = done.await {
            // A process that has just ended accepts neither a size nor the end of input.
            debug!(%error, "cannot pass the exec client's request to the process");
        }
    }
}

async fn pass(message: FromClient, stdin: &mut Option<Input>, running: &Running) -> Result<(), ExecError> {
    match message {
        FromClient::Stdin(data) => {
            if let Some(input) = stdin
                && let Err(error) = write_all(input, &data).await
            {
                // The process has closed its input, as `head` does.
                debug!(%error, "the exec process no longer reads its input");
                *stdin = None;
            }
            Ok(())
        }
        FromClient::StdinEnd => end_input(stdin.take(), running).await,
        FromClient::Resize { columns, rows } => running.resize(columns, rows).await,
    }
}

async fn write_all(input: &mut Input, data: &[u8]) -> std::io::Result<()> {
    input.ready().await?.write_all(data).await
}

async fn end_input(stdin: Option<Input>, running: &Running) -> Result<(), ExecError> {
    let Some(mut input) = stdin else { return Ok(()) };
    // The data must have reached its reader before the pipe is closed.
    let opened = input.ready().await.map(drop);
    drop(input);
    match opened {
        Ok(()) => running.close_stdin().await,
        Err(_) => Ok(()),
    }
}
