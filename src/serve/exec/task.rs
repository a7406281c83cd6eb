//! A process in a container, run through containerd's task API.
//!
//! CRI's own `Exec` returns the URL of a streaming server: SPDY everywhere, WebSocket only in newer ones, and the end
//! of input only with version 5 of that protocol, which containerd supports since 2.0. The task API is the same in 1.6
//! to 2.x, and supports the end of input, resizing, separate error output and the exit code directly.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use containerd_client::services::v1::{
    CloseIoRequest, DeleteProcessRequest, ExecProcessRequest, GetContainerRequest, KillRequest,
    ResizePtyRequest, StartRequest, WaitRequest,
};
use containerd_client::{Client, tonic};
use nix::sys::stat::Mode;
use prost_types::Any;
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};
use tonic::{Code, Request, Status};

use super::process::{ExecRequest, process, start_failure};
use crate::cri::in_namespace;
use crate::disk::tree::{self, Mounts};
use crate::serve::socket::make_private_dir;

/// The type URL of an OCI process specification in containerd (`typeurl` of containerd's client).
const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// The timeout of calls that do not wait for the process.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a process could not be run, or its end could not be observed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub(crate) enum ExecError {
    #[error("containerd does not answer at {}", path.display())]
    Unreachable {
        path: PathBuf,
        source: tonic::transport::Error,
    },
    #[error("container {0} does not exist in containerd: it has been removed")]
    NoContainer(String),
    #[error("cannot read the specification of container {0}")]
    Specification(String),
    #[error("cannot create the pipes for the command below {}", dir.display())]
    Pipes { dir: PathBuf, source: io::Error },
    #[error("{message}")]
    Start { code: u32, message: String },
    #[error("containerd failed to {what}: {}", status.message())]
    Call { what: &'static str, status: Box<Status> },
}

impl ExecError {
    /// The exit code for this error: a shell's if the command could not be started, else 1.
    pub(crate) fn exit_code(&self) -> u32 {
        match self {
            ExecError::Start { code, .. } => *code,
            _ => 1,
        }
    }
}

/// The runtime's socket and the directory for pipes.
#[derive(Debug, Clone)]
pub(crate) struct ExecPlace {
    /// containerd's socket.
    pub(crate) containerd: PathBuf,
    /// The directory of all pipes.
    pub(crate) dir: PathBuf,
}

/// A process that runs in a container. It must be finished with [`Running::end`].
pub(crate) struct Running {
    client: Client,
    container: String,
    id: String,
    _pipes: Pipes,
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
    let client = connect(place).await?;
    let spec = specification(&client, container).await?;
    let process = process(&spec, request).ok_or_else(|| ExecError::Specification(container.to_owned()))?;

    let id = fresh_id();
    let pipes_error = |source| ExecError::Pipes {
        dir: place.dir.clone(),
        source,
    };
    let pipes = Pipes::make(place.dir.join(&id), request).map_err(pipes_error)?;
    // Opened for reading before the shim opens it for writing, which blocks until then.
    let open = |name: &str| {
        OpenOptions::new()
            .open_receiver(pipes.dir.join(name))
            .map_err(pipes_error)
    };
    let stdout = open("stdout")?;
    let stderr = (!request.tty).then(|| open("stderr")).transpose()?;
    let mut tasks = client.tasks();
    let exec = ExecProcessRequest {
        container_id: container.to_owned(),
        stdin: pipes.path("stdin", request.stdin),
        stdout: pipes.path("stdout", true),
        stderr: pipes.path("stderr", !request.tty),
        terminal: request.tty,
        spec: Some(Any {
            type_url: PROCESS_TYPE.to_owned(),
            value: process.to_string().into_bytes(),
        }),
        exec_id: id.clone(),
    };
    tasks
        .exec(call(exec))
        .await
        .map_err(|status| failed("prepare the command", status))?;
    let stdin = request.stdin.then(|| Input::open(pipes.dir.join("stdin")));
    let running = Running {
        client,
        container: container.to_owned(),
        id,
        _pipes: pipes,
    };
    let begin = StartRequest {
        container_id: running.container.clone(),
        exec_id: running.id.clone(),
    };
    if let Err(status) = tasks.start(call(begin)).await {
        running.forget().await;
        let (code, message) = start_failure(status.message());
        return Err(ExecError::Start { code, message });
    }
    Ok((running, Streams::new(stdin, stdout, stderr)))
}

async fn connect(place: &ExecPlace) -> Result<Client, ExecError> {
    let connected = Client::from_path(&place.containerd).await;
    connected.map_err(|source| ExecError::Unreachable {
        path: place.containerd.clone(),
        source,
    })
}

async fn specification(client: &Client, container: &str) -> Result<serde_json::Value, ExecError> {
    let request = call(GetContainerRequest {
        id: container.to_owned(),
    });
    let answer = client
        .containers()
        .get(request)
        .await
        .map_err(|status| match status.code() {
            Code::NotFound => ExecError::NoContainer(container.to_owned()),
            _ => failed("look up the container", status),
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
        // No deadline: it ends when the process does.
        let answer = self.client.tasks().wait(in_namespace(request)).await;
        answer
            .map(|answer| answer.into_inner().exit_status)
            .map_err(|status| failed("wait for the command", status))
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
    pub(crate) async fn kill(&self) -> Result<(), ExecError> {
        let request = KillRequest {
            container_id: self.container.clone(),
            exec_id: self.id.clone(),
            signal: nix::libc::SIGKILL.cast_unsigned(),
            all: false,
        };
        match self.client.tasks().kill(call(request)).await {
            Err(status) if status.code() != Code::NotFound => Err(failed("kill the command", status)),
            _ => Ok(()),
        }
    }

    /// Removes the ended process. The shim first forwards the remaining output and then closes the pipes, so readers
    /// end even if a child of the process lives on and keeps its output open.
    pub(crate) async fn end(self) -> Result<(), ExecError> {
        self.delete().await
    }

    /// Removes a process that was never started.
    async fn forget(self) {
        if let Err(error) = self.delete().await {
            tracing::debug!(%error, "cannot delete an exec process that was never started");
        }
    }

    async fn delete(&self) -> Result<(), ExecError> {
        let request = DeleteProcessRequest {
            container_id: self.container.clone(),
            exec_id: self.id.clone(),
        };
        let answer = self.client.tasks().delete_process(call(request)).await;
        answer
            .map(drop)
            .map_err(|status| failed("delete the exec process", status))
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

/// The named pipes of one process, in a directory that is removed together with this value.
struct Pipes {
    dir: PathBuf,
}

impl Pipes {
    fn make(dir: PathBuf, request: &ExecRequest) -> io::Result<Self> {
        make_private_dir(&dir)?;
        let pipes = Pipes { dir };
        for (name, wanted) in [
            ("stdin", request.stdin),
            ("stdout", true),
            ("stderr", !request.tty),
        ] {
            if wanted {
                nix::unistd::mkfifo(&pipes.dir.join(name), Mode::S_IRUSR | Mode::S_IWUSR)?;
            }
        }
        Ok(pipes)
    }

    /// The path as containerd expects it: empty if there is no such pipe.
    fn path(&self, name: &str, wanted: bool) -> String {
        if wanted {
            self.dir.join(name).display().to_string()
        } else {
            String::new()
        }
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        // The parent directory is emptied at the next start of the agent.
        let _ = tree::remove(&self.dir, Mounts::Emptied);
    }
}

/// Removes the pipes that a killed agent left behind.
pub(crate) fn clear(dir: &Path) -> io::Result<()> {
    tree::remove(dir, Mounts::Emptied)
}

/// The writing end of the process's input. The shim opens its end at any time, even after it has reported the start,
/// and input written before that would be lost if the pipe were closed: opening waits for the shim, in a thread of its
/// own.
pub(crate) struct Input {
    path: PathBuf,
    state: InputState,
}

enum InputState {
    Opening(tokio::task::JoinHandle<io::Result<std::fs::File>>),
    Open(Sender),
    Closed,
}

impl Input {
    fn open(path: PathBuf) -> Self {
        let to_open = path.clone();
        let opening =
            tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(to_open));
        Input {
            path,
            state: InputState::Opening(opening),
        }
    }

    /// The pipe, once the shim reads from it.
    pub(crate) async fn ready(&mut self) -> io::Result<&mut Sender> {
        if let InputState::Opening(opening) = &mut self.state {
            let file = opening.await.map_err(io::Error::other)??;
            self.state = InputState::Open(Sender::from_file(file)?);
        }
        match &mut self.state {
            InputState::Open(sender) => Ok(sender),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let InputState::Opening(_) = std::mem::replace(&mut self.state, InputState::Closed) {
            // Nothing will read this pipe. Open it for reading for a moment, so that the thread waiting for a reader
            // ends.
            let _ = OpenOptions::new().read_write(true).open_receiver(&self.path);
        }
    }
}
