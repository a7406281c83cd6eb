//! `gantry exec [-i] [-t] POD -- COMMAND`.

use std::io::{self, Read, Write};

use bytes::Bytes;
use form_urlencoded::Serializer;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::client::Client;
use super::table::in_line;
use super::{CommandError, pod_selection, print, terminal};
use crate::serve::exec::frame::{self, Frame, PROTOCOL};

/// The number of input chunks queued for the agent.
const QUEUE: usize = 4;
/// The chunk size for reading standard input.
const CHUNK: usize = 32 * 1024;

/// The options.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The pod's name, full or short.
    pub pod: String,
    /// Its namespace, if the name is ambiguous.
    pub namespace: Option<String>,
    /// The container; `None`: the pod's default or first one.
    pub container: Option<String>,
    /// `-i`: standard input goes to the command.
    pub stdin: bool,
    /// `-t`: the command gets a terminal, if standard input is one.
    pub tty: bool,
    /// The command with its arguments.
    pub command: Vec<String>,
}

/// Runs the command with this process's standard streams and returns its exit code. A thread that cannot be stopped
/// reads standard input, so the caller must end the process (`std::process::exit`) with the code.
pub async fn run(client: &Client, options: &Options) -> Result<u32, CommandError> {
    let mut options = options.clone();
    if options.tty && !(options.stdin && terminal::is_terminal()) {
        let why = if options.stdin {
            "standard input is not a terminal"
        } else {
            "-t requires -i"
        };
        print(&mut io::stderr(), &format!("running without a terminal: {why}\n"))?;
        options.tty = false;
    }
    let connection = connect(client, &options, &mut io::stderr()).await?;
    // Restored when this scope ends, even by an error.
    let raw = options
        .tty
        .then(terminal::Raw::enter)
        .transpose()
        .map_err(CommandError::Output)?;
    let input = Input {
        stdin: options.stdin.then(|| read_in_thread(io::stdin())),
        resized: raw
            .as_ref()
            .map(|_| watch(SignalKind::window_change()))
            .transpose()?,
    };
    let interrupted = async {
        match raw {
            // Without raw mode the signal's default effect is right: the process ends, and the agent notices.
            None => std::future::pending().await,
            Some(_) => first_signal().await,
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

/// Finds the container and opens the connection to a command in it.
pub async fn connect(
    client: &Client,
    options: &Options,
    err: &mut impl Write,
) -> Result<TokioIo<Upgraded>, CommandError> {
    let pods = pod_selection::pods(client).await?;
    let pod = pod_selection::pod(&pods, &options.pod, options.namespace.as_deref())?;
    let container = pod_selection::container(pod, options.container.as_deref())?;
    if let Some(note) = &container.note {
        print(err, &format!("{}\n", in_line(note)))?;
    }
    Ok(client
        .upgrade(&path(pod, &container.name, options), PROTOCOL)
        .await?)
}

fn path(pod: &Pod, container: &str, options: &Options) -> String {
    let mut query = Serializer::new(String::new());
    for (name, wanted) in [("stdin", options.stdin), ("tty", options.tty)] {
        if wanted {
            query.append_pair(name, "true");
        }
    }
    query.extend_pairs(options.command.iter().map(|word| ("command", word)));
    format!(
        "/exec/{}/{}/{container}?{}",
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

/// Forwards frames until the command has ended, and returns its exit code.
pub async fn carry(
    connection: impl AsyncRead + AsyncWrite + Send + Unpin,
    input: Input,
    out: &mut (impl AsyncWrite + Unpin),
    err: &mut (impl AsyncWrite + Unpin),
) -> Result<u32, CommandError> {
    let (mut from_agent, to_agent) = tokio::io::split(connection);
    let output = async {
        loop {
            match frame::read(&mut from_agent).await.map_err(CommandError::Output)? {
                Some(Frame::Stdout(data)) => show(out, &data).await?,
                Some(Frame::Stderr(data)) => show(err, &data).await?,
                Some(Frame::Exit(code)) => return Ok(code),
                Some(Frame::Failed { code, message }) => return Err(CommandError::Exec { code, message }),
                Some(other) => {
                    return Err(CommandError::Answer(
                        format!("unexpected frame: {other:?}").into(),
                    ));
                }
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
        // Dropped when the command has ended; a partial frame is then harmless.
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
async fn feed<T>(mut to_agent: impl AsyncWrite + Unpin, mut input: Input) -> T {
    if input.resized.is_some()
        && let Some((columns, rows)) = terminal::size()
    {
        let _ = frame::write(&mut to_agent, &Frame::Resize { columns, rows }).await;
    }
    loop {
        let frame = tokio::select! {
            // A chunk is either taken or stays in the channel.
            chunk = next(&mut input.stdin), if input.stdin.is_some() => match chunk {
                Some(data) => Frame::Stdin(data),
                None => {
                    input.stdin = None;
                    Frame::StdinEnd
                }
            },
            // A signal that arrives meanwhile stays pending.
            () = changed(&mut input.resized), if input.resized.is_some() => match terminal::size() {
                Some((columns, rows)) => Frame::Resize { columns, rows },
                None => continue,
            },
            else => break,
        };
        if frame::write(&mut to_agent, &frame).await.is_err() {
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

/// The exit code for the first signal that would otherwise end the process with the terminal left in raw mode.
async fn first_signal() -> u32 {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ];
    let mut waits: Vec<_> = kinds
        .into_iter()
        .filter_map(|kind| {
            let mut signal = signal(kind).ok()?;
            Some(Box::pin(async move {
                signal.recv().await;
                128 + kind.as_raw_value().unsigned_abs()
            }))
        })
        .collect();
    std::future::poll_fn(move |context| {
        let ready = waits
            .iter_mut()
            .map(|wait| wait.as_mut().poll(context))
            .find(std::task::Poll::is_ready);
        ready.unwrap_or(std::task::Poll::Pending)
    })
    .await
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
