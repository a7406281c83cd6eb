//! A command's or an attached process's streams at this end: the terminal's or the pipes of this process.

use std::io::{self, Read};

use bytes::Bytes;
use form_urlencoded::Serializer;
use k8s_openapi::api::core::v1::Pod;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::client::Connection;
use super::{CommandError, pod_selection, signals, terminal};
use crate::serve::stream::command::{Ended, FromClient, Parts, ToClient};
use crate::serve::stream::websocket::{self, ClientWriter};

/// The number of input chunks queued for the agent.
const QUEUE: usize = 4;
/// The chunk size for reading standard input.
const CHUNK: usize = 32 * 1024;

/// The path of a request for these streams.
pub(super) fn path(what: &str, (pod, container): (&Pod, &str), parts: Parts, command: &[String]) -> String {
    let mut query = Serializer::new(String::new());
    query.extend_pairs(parts.names().map(|name| (name, "1")));
    query.extend_pairs(command.iter().map(|word| ("command", word)));
    format!(
        "/{what}/{}/{}/{container}?{}",
        pod_selection::namespace(pod),
        pod_selection::name(pod),
        query.finish()
    )
}

/// What goes to the command.
pub struct Input {
    /// Chunks; closed at the end of input.
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    /// Fires when the terminal's size changes; `None` without a terminal.
    pub resized: Option<Signal>,
}

/// Carries the streams between this process and the agent, and returns the exit code. A thread that cannot be stopped
/// reads standard input, so the caller must end the process (`std::process::exit`) with the code.
pub async fn run(connection: Connection, stdin: bool, tty: bool) -> Result<u32, CommandError> {
    // Restored when this scope ends, even by an error.
    let raw = tty
        .then(terminal::Raw::enter)
        .transpose()
        .map_err(CommandError::Output)?;
    let input = Input {
        stdin: stdin.then(|| read_in_thread(io::stdin())),
        resized: raw
            .as_ref()
            .map(|_| watch(SignalKind::window_change()))
            .transpose()?,
    };
    let interrupted = async {
        match raw {
            // Without raw mode the signal's default effect is right: the process ends, and the agent notices.
            None => std::future::pending().await,
            Some(_) => u32::from(signals::first().await),
        }
    };
    let (mut out, mut err) = (tokio::io::stdout(), tokio::io::stderr());
    let carried = carry(connection, input, &mut out, &mut err);
    tokio::select! {
        // A signal drops it: the connection closes, and the agent kills the command.
        ended = carried => ended,
        // Dropping this future loses nothing.
        code = interrupted => Ok(code),
    }
}

/// Carries the streams until the command has ended, and returns its exit code.
pub async fn carry(
    connection: Connection,
    input: Input,
    out: &mut (impl AsyncWrite + Unpin),
    err: &mut (impl AsyncWrite + Unpin),
) -> Result<u32, CommandError> {
    let (mut from_agent, to_agent) = websocket::as_client(connection);
    let output = async {
        loop {
            match from_agent
                .next()
                .await
                .map_err(|error| CommandError::Output(error.into()))?
            {
                Some(ToClient::Stdout(data)) => show(out, &data).await?,
                Some(ToClient::Stderr(data)) => show(err, &data).await?,
                Some(ToClient::Heartbeat) => {}
                Some(ToClient::Ended(Ended::Exited(code))) => return Ok(code),
                Some(ToClient::Ended(Ended::Failed(message))) => return Err(CommandError::exec(&message)),
                None => {
                    return Err(CommandError::Choice(
                        "gantry stopped before the command ended".to_owned(),
                    ));
                }
            }
        }
    };
    tokio::select! {
        // Never dropped before it ends: the other arm does not end.
        ended = output => ended,
        // Dropped when the command has ended; a partial message is then harmless.
        never = feed(to_agent, input) => never,
    }
}

/// A closed pipe (`| head`) does not stop the command, which may do more than write output.
async fn show(to: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> Result<(), CommandError> {
    let written = match to.write_all(data).await {
        Ok(()) => to.flush().await,
        error => error,
    };
    written.or_else(|error| CommandError::output(error).map_or(Ok(()), Err))
}

/// Sends input and terminal sizes. Once there is nothing more to send, or the agent is gone, it waits to be dropped.
async fn feed<T>(mut to_agent: ClientWriter<Connection>, mut input: Input) -> T {
    if input.resized.is_some()
        && let Some((columns, rows)) = terminal::size()
    {
        let _ = to_agent.send(FromClient::Resize { columns, rows }).await;
    }
    loop {
        let message = tokio::select! {
            // A chunk is either taken or stays in the channel.
            chunk = next(&mut input.stdin), if input.stdin.is_some() => match chunk {
                Some(data) => FromClient::Stdin(data),
                None => {
                    input.stdin = None;
                    FromClient::StdinEnd
                }
            },
            // A signal that arrives meanwhile stays pending.
            () = changed(&mut input.resized), if input.resized.is_some() => match terminal::size() {
                Some((columns, rows)) => FromClient::Resize { columns, rows },
                None => continue,
            },
            else => break,
        };
        if to_agent.send(message).await.is_err() {
            // The agent has sent the reason or has gone; the reading side sees both.
            break;
        }
    }
    std::future::pending().await
}

async fn next(stdin: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match stdin {
        Some(stdin) => stdin.recv().await,
        None => None,
    }
}

async fn changed(resized: &mut Option<Signal>) {
    if let Some(resized) = resized {
        resized.recv().await;
    }
}

fn watch(kind: SignalKind) -> Result<Signal, CommandError> {
    signal(kind).map_err(CommandError::Output)
}

/// A separate thread, because a read from a terminal cannot be canceled.
fn read_in_thread(mut from: impl Read + Send + 'static) -> mpsc::Receiver<Bytes> {
    let (chunks, receiver) = mpsc::channel(QUEUE);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(size) => {
                    if chunks
                        .blocking_send(Bytes::copy_from_slice(&buffer[..size]))
                        .is_err()
                    {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // For the command this equals the end of input.
                Err(_) => return,
            }
        }
    });
    receiver
}
