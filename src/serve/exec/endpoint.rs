//! `/exec`: runs a command in a container and carries its input and output over the upgraded connection.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::frame::{self, Frame, PROTOCOL};
use super::process::ExecRequest;
use super::task::{self, ExecError, ExecPlace, Input, Running, Streams};
use crate::model::error_chain::chain;
use crate::serve::answer::Refusal;
use crate::serve::objects::find;
use crate::serve::world::Served;

/// How much is read from a pipe at once: a pipe's capacity.
const CHUNK: usize = 64 * 1024;
/// The number of frames buffered for the caller; when it is reached, the process waits.
const QUEUE: usize = 8;

pub(crate) async fn answer(
    State(served): State<Served>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    mut request: Request,
) -> Result<Response, Refusal> {
    let wanted = parse(query.as_deref().unwrap_or_default())?;
    let (_, object) = find(&served, namespace, pod)?;
    let id = running_id(&object, &container)?;
    if request
        .headers()
        .get(header::UPGRADE)
        .is_none_or(|value| value != PROTOCOL)
    {
        return Err(Refusal::BadRequest(format!(
            "exec requires a connection upgraded to {PROTOCOL}"
        )));
    }
    let place = ExecPlace {
        containerd: served.world.containerd.clone(),
        dir: served.world.exec_dir.clone(),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(connection) => run(TokioIo::new(connection), &place, &id, &wanted, served.stopping).await,
            Err(error) => debug!(%error, "exec client disconnected before the session started"),
        }
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// The query, with Kubernetes' own names.
fn parse(query: &str) -> Result<ExecRequest, Refusal> {
    let mut wanted = ExecRequest {
        command: Vec::new(),
        stdin: false,
        tty: false,
    };
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let flag = matches!(&*value, "1" | "true");
        match &*key {
            "command" => wanted.command.push(value.into_owned()),
            "stdin" => wanted.stdin = flag,
            "tty" => wanted.tty = flag,
            _ => return Err(Refusal::BadRequest(format!("unknown exec parameter {key:?}"))),
        }
    }
    if wanted.command.is_empty() {
        return Err(Refusal::BadRequest("exec requires a command".to_owned()));
    }
    Ok(wanted)
}

/// The statuses of all containers of a pod.
pub(crate) fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    fn each(list: &Option<Vec<ContainerStatus>>) -> impl Iterator<Item = &ContainerStatus> {
        list.iter().flatten()
    }
    pod.status.iter().flat_map(|status| {
        each(&status.container_statuses)
            .chain(each(&status.init_container_statuses))
            .chain(each(&status.ephemeral_container_statuses))
    })
}

/// The names of all containers in the pod's specification, regular containers first.
pub(crate) fn container_names(pod: &Pod) -> Vec<&str> {
    let spec = pod.spec.as_ref();
    let main = spec.into_iter().flat_map(|spec| &spec.containers);
    let init = spec
        .into_iter()
        .flat_map(|spec| spec.init_containers.iter().flatten());
    let added = spec
        .into_iter()
        .flat_map(|spec| spec.ephemeral_containers.iter().flatten())
        .map(|container| container.name.as_str());
    let own = main.chain(init).map(|container| container.name.as_str());
    own.chain(added).collect()
}

/// The error for a container that the pod does not have.
pub(crate) fn no_container(pod: &Pod, container: &str) -> Refusal {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Refusal::BadRequest(format!(
        "container {container} is not valid for pod {name}: it has {}",
        container_names(pod).join(", ")
    ))
}

/// The ID without the prefix of the runtime's name.
pub(crate) fn bare_id(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_, bare)| bare)
}

fn running_id(pod: &Pod, container: &str) -> Result<String, Refusal> {
    if !container_names(pod).contains(&container) {
        return Err(no_container(pod, container));
    }
    let status = statuses(pod).find(|status| status.name == container);
    let running = status.filter(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
    running
        .and_then(|status| status.container_id.as_deref())
        .map(|id| bare_id(id).to_owned())
        .ok_or_else(|| {
            Refusal::Conflict(format!(
                "container {container} is not running; exec requires a running container"
            ))
        })
}

/// Runs the command to its end. The last frame carries the exit code, or why there is none.
async fn run(
    connection: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    place: &ExecPlace,
    container: &str,
    request: &ExecRequest,
    stopping: CancellationToken,
) {
    let (from_caller, to_caller) = tokio::io::split(connection);
    let (frames, queue) = mpsc::channel(QUEUE);
    let sender = tokio::spawn(send(to_caller, queue));
    let last = match task::start(place, container, request).await {
        Ok((running, streams)) => carry(running, streams, from_caller, frames.clone(), stopping).await,
        Err(error) => Err(error),
    };
    let last = match last {
        Ok(code) => Frame::Exit(code),
        Err(error) => Frame::Failed {
            code: error.exit_code(),
            message: chain(&error),
        },
    };
    // Either send may fail because the caller is gone; it needs no answer then.
    let _ = frames.send(last).await;
    drop(frames);
    let _ = sender.await;
}

/// Carries frames until the process has ended and its output is sent. If the caller disconnects or the agent stops, the
/// process is killed: no client would ever see its output.
async fn carry(
    running: Running,
    streams: Streams,
    from_caller: impl AsyncRead + Send + Unpin + 'static,
    frames: mpsc::Sender<Frame>,
    stopping: CancellationToken,
) -> Result<u32, ExecError> {
    let running = Arc::new(running);
    let mut output = JoinSet::new();
    output.spawn(copy(streams.stdout, frames.clone(), Frame::Stdout));
    if let Some(stderr) = streams.stderr {
        output.spawn(copy(stderr, frames.clone(), Frame::Stderr));
    }
    let mut input = JoinSet::new();
    input.spawn(feed(from_caller, streams.stdin, running.clone()));
    let code = tokio::select! {
        // `wait` is dropped here only to be called again below.
        code = running.wait() => code,
        // Ends when the caller is gone; dropped when the process ends first.
        _ = input.join_next() => end_early(&running).await,
        // Dropped when the process ends first.
        () = frames.closed() => end_early(&running).await,
        // As above.
        () = stopping.cancelled() => end_early(&running).await,
    };
    input.shutdown().await;
    let running = Arc::into_inner(running).expect("the input task, the only other owner, has been joined");
    let ended = running.end().await;
    if let Err(error) = &ended {
        debug!(%error, "cannot delete the exec process after it exited");
    }
    if code.is_err() || ended.is_err() {
        // containerd is gone, so nothing closes the pipes: do not wait for their end.
        output.shutdown().await;
    }
    while output.join_next().await.is_some() {}
    code
}

async fn end_early(running: &Running) -> Result<u32, ExecError> {
    running.kill().await?;
    running.wait().await
}

/// Copies one pipe into frames until its end. When no receiver takes frames any more, the rest is read and discarded,
/// so that the process does not block in the middle of a line before it is killed.
async fn copy(mut pipe: impl AsyncRead + Unpin, frames: mpsc::Sender<Frame>, wrap: fn(Bytes) -> Frame) {
    let mut buffer = BytesMut::with_capacity(CHUNK);
    loop {
        buffer.reserve(CHUNK);
        match pipe.read_buf(&mut buffer).await {
            Ok(0) => return,
            // The receiver is gone with the caller; reading continues.
            Ok(_) => drop(frames.send(wrap(buffer.split().freeze())).await),
            Err(error) => {
                debug!(%error, "cannot read the output of the exec process");
                return;
            }
        }
    }
}

async fn send(mut to_caller: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Frame>) {
    while let Some(frame) = queue.recv().await {
        if let Err(error) = frame::write(&mut to_caller, &frame).await {
            debug!(%error, "exec client disconnected");
            return;
        }
    }
    let _ = to_caller.shutdown().await;
}

/// Passes the caller's frames to the process until the caller disconnects.
async fn feed(mut from_caller: impl AsyncRead + Unpin, mut stdin: Option<Input>, running: Arc<Running>) {
    loop {
        let done = match frame::read(&mut from_caller).await {
            Ok(Some(Frame::Stdin(data))) => {
                if let Some(input) = &mut stdin
                    && let Err(error) = write_all(input, &data).await
                {
                    // The process has closed its input, as `head` does.
                    debug!(%error, "the exec process no longer reads its input");
                    stdin = None;
                }
                Ok(())
            }
            Ok(Some(Frame::StdinEnd)) => end_input(stdin.take(), &running).await,
            Ok(Some(Frame::Resize { columns, rows })) => running.resize(columns, rows).await,
            Ok(Some(other)) => {
                debug!(?other, "exec client sent a frame that only the agent may send");
                return;
            }
            Ok(None) => return,
            Err(error) => {
                debug!(%error, "exec client disconnected");
                return;
            }
        };
        if let Err(error) = done {
            // A process that has just ended accepts neither a size nor the end of input.
            debug!(%error, "cannot pass the exec client's request to the process");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_kubernetes_own() {
        let wanted = parse("command=sh&command=-c&command=echo%20%26+x&stdin=true&tty=1").unwrap();
        assert_eq!(wanted.command, ["sh", "-c", "echo & x"]);
        assert!(wanted.stdin && wanted.tty);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(
            parse("stdin=1"),
            Err(Refusal::BadRequest("exec requires a command".into()))
        );
        assert_eq!(
            parse("command=a&user=root"),
            Err(Refusal::BadRequest("unknown exec parameter \"user\"".into()))
        );
    }
}
