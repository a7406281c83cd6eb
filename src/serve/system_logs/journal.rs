//! Carries out a query: journalctl for services that log to the journal, and files for others, as the kubelet's
//! heuristics find them.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use tokio::process::Command;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::query::Options;
use crate::bulkhead::program::{self, Running};

/// How long a query may last, with the sending of its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Queries at the same time: each reads the whole journal.
const AT_ONCE: usize = 2;

static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(AT_ONCE)));

/// What the services log to.
pub(super) struct Split {
    /// Those that are in the journal.
    pub(super) journal: Vec<String>,
    /// The others, which may have a file.
    pub(super) files: Vec<String>,
}

/// The right to make a query, until it is dropped.
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
    deadline: Instant,
}

/// The right to make a query now; `None`: too many are being made.
pub(super) fn turn() -> Option<Turn> {
    let permit = TURNS.clone().try_acquire_owned().ok()?;
    Some(Turn {
        _permit: permit,
        deadline: Instant::now() + PATIENCE,
    })
}

/// Each value is an argument of its own, behind the name of its option.
fn command<A: AsRef<OsStr>>(journalctl: &Path, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(journalctl);
    command.args(arguments);
    command
}

/// Which of the services the journal knows.
pub(super) async fn split(journalctl: &Path, services: Vec<String>) -> Split {
    let mut command = command(journalctl, ["--field", "_SYSTEMD_UNIT"]);
    // As in the kubelet: without a journal, files are looked for.
    let known = program::run(&mut command, b"", PATIENCE)
        .await
        .unwrap_or_default();
    let known = String::from_utf8_lossy(&known).into_owned();
    let is_known = |service: &String| {
        let unit = format!("{service}.service");
        known.lines().any(|line| line == unit || line == service)
    };
    let (journal, files) = services.into_iter().partition(is_known);
    Split { journal, files }
}

/// What journalctl prints, as it comes, errors included.
pub(super) fn show(journalctl: &Path, services: &[String], options: &Options, turn: Turn) -> Response {
    match program::start(command(journalctl, options.arguments(services))) {
        Ok(running) => {
            let kind = [(header::CONTENT_TYPE, "text/plain;charset=UTF-8")];
            (kind, Body::from_stream(chunks(running, turn))).into_response()
        }
        Err(error) => {
            tracing::warn!(program = %journalctl.display(), "cannot query the journal: {error}");
            let why = "error: journal output not available\n";
            (StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}

/// The output until its end. At the deadline it is cut off.
fn chunks(running: Running, turn: Turn) -> impl Stream<Item = io::Result<Bytes>> {
    futures::stream::unfold(Some((running, turn)), async |state| {
        let (mut running, turn) = state?;
        match timeout_at(turn.deadline, running.read()).await {
            Ok(Ok(chunk)) if chunk.is_empty() => None,
            Ok(Ok(chunk)) => Some((Ok(Bytes::from(chunk)), Some((running, turn)))),
            Ok(Err(error)) => Some((Err(error), None)),
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    })
}
