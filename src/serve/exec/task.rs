//! A process in a container, run through containerd's task API.
//!
//! CRI's own `Exec` returns the URL of a streaming server: SPDY everywhere, WebSocket only in newer ones, and the end
//! of input only with version 5 of that protocol, which containerd supports since 2.0. The task API is the same in 1.6
//! to 2.x, and supports the end of input, resizing, separate error output and the exit code directly.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use containerd_client::services::v1::{
    CloseIoRequest, DeleteProcessRequest, ExecProcessRequest, GetContainerRequest, KillRequest,
    ResizePtyRequest, StartRequest, WaitRequest,
};
use containerd_client::{Client, tonic};
use prost_types::Any;
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tonic::{Code, Request, Status};

use super::pipes::{Input, Leftover, Pipes};
use super::process::{ExecRequest, process};
use super::restarts::Restarts;
use crate::cri::{CriError, Runtime, in_namespace};
use crate::model::error_chain::chain;

/// The type URL of an OCI process specification in containerd (`typeurl` of containerd's client).
const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// The timeout of calls that do not wait for the process.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a killed process may take to end. One that waits for a device or a file system takes longer.
const KILLED: Duration = Duration::from_secs(10);

/// Why a process could not be run, or its end could not be observed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub(crate) enum ExecError {
    #[error("containerd does not answer at {}", path.display())]
    Unreachable { path: PathBuf, source: CriError },
    #[error("container {0} does not exist in containerd: it has been removed")]
    NoContainer(String),
    #[error("cannot read the specification of container {0}")]
    Specification(String),
    #[error("cannot create the pipes for the command below {}", dir.display())]
    Pipes { dir: PathBuf, source: io::Error },
    #[error("failed to start exec: {message}")]
    Start { message: String },
    #[error("the command did not end within {} s after SIGKILL", KILLED.as_secs())]
    Stuck,
    #[error("containerd failed to {what}: {}", status.message())]
    Call { what: &'static str, status: Box<Status> },
}

/// The runtime's socket and the directory for pipes.
#[derive(Debug, Clone)]
pub(crate) struct ExecPlace {
    /// The runtime, which is containerd.
    pub(crate) runtime: Runtime,
    /// The directory of all pipes.
    pub(crate) dir: PathBuf,
}

/// A process that runs in a container. It must be finished with [`Running::end`].
pub(crate) struct Running {
    client: Client,
    container: String,
    id: String,
    pipes: Pipes,
}

/// The ends of the process' pipes.
pub(crate) struct Streams {
    pub(crate) stdin: Option<Input>,
    pub(crate) stdout: Receiver,
    pub(crate) stderr: Option<Receiver>,
}

impl Streams {
    fn new(stdin: Option<Input>, stdout: Receiver, stderr: Option<Receiver>) -> Streams {
        Streams {
            stdin,
            stdout,
            stderr,
        }
    }
}

/// Starts the process.
pub(crate) async fn start(
    place: &ExecPlace,
    container: &str,
    request: &ExecRequest,
) -> Result<(Running, Streams), ExecError> {
    let client = place.runtime.containerd();
    let spec = specification(&client, &place.runtime, container).await?;
    let process = process(&spec, request).ok_or_else(|| ExecError::Specification(container.to_owned()))?;

    let id = fresh_id();
    let pipes_error = |source| ExecError::Pipes {
        dir: place.dir.clone(),
        source,
    };
    let pipes = Pipes::make(place.dir.join(&id), container, request).map_err(pipes_error)?;
    // Opened for reading before the shim opens it for writing, which blocks until then.
    let open = |name: &str| {
        OpenOptions::new()
            .open_receiver(pipes.dir.join(name))
            .map_err(pipes_error)
    };
    let stdout = open("stdout")?;
    let stderr = (!request.tty).then(|| open("stderr")).transpose()?;
    let mut tasks = client.tasks();
    let exec = preparation((container, &id), request, &process, &pipes);
    tasks
        .exec(call(exec))
        .await
        .map_err(|status| failed("prepare the command", status))?;
    let stdin = request.stdin.then(|| Input::open(pipes.dir.join("stdin")));
    let mut running = Running {
        client,
        container: container.to_owned(),
        id,
        pipes,
    };
    // From here on they name a process that must be ended.
    running.pipes.keep();
    let begin = StartRequest {
        container_id: running.container.clone(),
        exec_id: running.id.clone(),
    };
    if let Err(status) = tasks.start(call(begin)).await {
        // Its thread waits at a pipe that goes with the process.
        drop(stdin);
        running.forget().await;
        let message = status.message().to_owned();
        return Err(ExecError::Start { message });
    }
    Ok((running, Streams::new(stdin, stdout, stderr)))
}

/// The request that prepares the process.
fn preparation(
    (container, id): (&str, &str),
    request: &ExecRequest,
    process: &serde_json::Value,
    pipes: &Pipes,
) -> ExecProcessRequest {
    ExecProcessRequest {
        container_id: container.to_owned(),
        stdin: pipes.path("stdin", request.stdin),
        stdout: pipes.path("stdout", true),
        stderr: pipes.path("stderr", !request.tty),
        terminal: request.tty,
        spec: Some(Any {
            type_url: PROCESS_TYPE.to_owned(),
            value: process.to_string().into_bytes(),
        }),
        exec_id: id.to_owned(),
    }
}

async fn specification(
    client: &Client,
    runtime: &Runtime,
    container: &str,
) -> Result<serde_json::Value, ExecError> {
    let request = call(GetContainerRequest {
        id: container.to_owned(),
    });
    let answer = client
        .containers()
        .get(request)
        .await
        .map_err(|status| match status.code() {
            Code::NotFound => ExecError::NoContainer(container.to_owned()),
            _ => match CriError::from_status("GetContainer", &status) {
                source if source.is_unreachable() => ExecError::Unreachable {
                    path: runtime.socket().to_owned(),
                    source,
                },
                _ => failed("look up the container", status),
            },
        })?;
    let spec = answer.into_inner().container.and_then(|found| found.spec);
    spec.and_then(|any| serde_json::from_slice(&any.value).ok())
        .ok_or_else(|| ExecError::Specification(container.to_owned()))
}

impl Running {
    /// Waits for the process to end and returns its exit code. May be canceled and called again.
    pub(crate) async fn wait(&self) -> Result<u32, ExecError> {
        let request = WaitRequest {
            container_id: self.container.clone(),
            exec_id: self.id.clone(),
        };
        let mut restarts = Restarts::default();
        loop {
            // No deadline: it ends when the process does.
            match self.client.tasks().wait(in_namespace(request.clone())).await {
                Ok(ended) => return Ok(ended.into_inner().exit_status),
                Err(status) => {
                    let away = |status| failed("wait for the command", status);
                    restarts.endure(status).await.map_err(away)?;
                }
            }
        }
    }

    /// Sets the size of the terminal.
    pub(crate) async fn resize(&self, columns: u16, rows: u16) -> Result<(), ExecError> {
        let request = ResizePtyRequest {
            container_id: self.container.clone(),
            exec_id: self.id.clone(),
            width: columns.into(),
            height: rows.into(),
        };
        let answer = self.client.tasks().resize_pty(call(request)).await;
        answer
            .map(drop)
            .map_err(|status| failed("resize the terminal", status))
    }

    /// Signals end of input to the process. The shim holds the write end of the pipe open, too, so closing only the
    /// agent's end has no effect.
    pub(crate) async fn close_stdin(&self) -> Result<(), ExecError> {
        let request = CloseIoRequest {
            container_id: self.container.clone(),
            exec_id: self.id.clone(),
            stdin: true,
        };
        let answer = self.client.tasks().close_io(call(request)).await;
        answer
            .map(drop)
            .map_err(|status| failed("close the input", status))
    }

    /// Kills the process. A process that has already ended is not an error.
    async fn kill(&self) -> Result<(), ExecError> {
        let request = KillRequest {
            container_id: self.container.clone(),
            exec_id: self.id.clone(),
            signal: nix::libc::SIGKILL.cast_unsigned(),
            all: false,
        };
        let mut restarts = Restarts::default();
        loop {
            match self.client.tasks().kill(call(request.clone())).await {
                Err(status) if status.code() != Code::NotFound => {
                    let away = |status| failed("kill the command", status);
                    restarts.endure(status).await.map_err(away)?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Kills the process and waits for its end. Returns its exit code.
    pub(crate) async fn end_early(&self) -> Result<u32, ExecError> {
        self.kill().await?;
        let ended = tokio::time::timeout(KILLED, self.wait()).await;
        ended.map_err(|_| ExecError::Stuck)?
    }

    /// Removes the ended process. The shim first forwards the remaining output and then closes the pipes, so readers
    /// end even if a child of the process lives on and keeps its output open.
    pub(crate) async fn end(mut self) -> Result<(), ExecError> {
        let request = DeleteProcessRequest {
            container_id: self.container.clone(),
            exec_id: self.id.clone(),
        };
        let mut restarts = Restarts::default();
        loop {
            match self.client.tasks().delete_process(call(request.clone())).await {
                Err(status) if status.code() != Code::NotFound => {
                    let away = |status| failed("delete the exec process", status);
                    restarts.endure(status).await.map_err(away)?;
                }
                _ => break self.pipes.discard(),
            }
        }
        Ok(())
    }

    /// Removes a process that was never started.
    async fn forget(self) {
        if let Err(error) = self.end().await {
            tracing::debug!(%error, "cannot delete an exec process that was never started");
        }
    }
}

fn call<T>(message: T) -> Request<T> {
    let mut request = in_namespace(message);
    request.set_timeout(PATIENCE);
    request
}

fn failed(what: &'static str, status: Status) -> ExecError {
    ExecError::Call {
        what,
        status: Box::new(status),
    }
}

/// An ID that no other process of the container has: two agents never run at once, and a pid is reused only later.
fn fresh_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = jiff::Timestamp::now().as_nanosecond();
    format!(
        "gantry-{}-{now:x}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Ends what an earlier agent left behind when it was killed: the clients are gone.
pub(crate) async fn end_leftovers(runtime: Runtime, left: Vec<Leftover>) {
    for Leftover { container, id, pipes } in left {
        let running = Running {
            client: runtime.containerd(),
            container: container.clone(),
            id,
            pipes,
        };
        match running.end_early().await {
            Ok(_) => tracing::info!(container, "ended a command of an agent that was killed"),
            // It has ended long ago, with its container or without, or containerd is away.
            Err(error) => {
                tracing::debug!(container, %error, "cannot kill a command that a killed agent left")
            }
        }
        if let Err(error) = running.end().await {
            let error = chain(&error);
            tracing::warn!(
                container,
                error,
                "cannot remove a command that a killed agent left; retrying at the next start"
            );
        }
    }
}
