//! `/logs`: the output of a container, optionally followed while it runs.

use std::future::ready;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use serde::Deserialize;
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;

use super::file::LogDir;
use super::line::Show;
use super::read::{Progress, Reader, Wanted};
use crate::cri::log_line::Output;
use crate::model::pod::PodName;
use crate::model::runtime::{ContainerState as Observed, ObservedContainer, Snapshot};
use crate::serve::answer::Refusal;
use crate::serve::containers::{bare_id, container_names, no_container, statuses};
use crate::serve::objects::find;
use crate::serve::world::Served;

/// The number of chunks buffered for the caller; when it is reached, reading waits.
const QUEUE: usize = 4;

/// The query, with Kubernetes' own names (`PodLogOptions`).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LogQuery {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail_lines: Option<u64>,
    since_seconds: Option<u32>,
    since_time: Option<Timestamp>,
    limit_bytes: Option<u64>,
    /// One of the two outputs, or both (KEP 3288).
    stream: Stream,
}

/// `PodLogOptions.stream`
#[derive(Debug, Clone, Copy, Default, Deserialize)]
enum Stream {
    #[default]
    All,
    Stdout,
    Stderr,
}

impl LogQuery {
    fn wanted(&self, now: Timestamp) -> Wanted {
        let seconds = self
            .since_seconds
            .map(|seconds| now - SignedDuration::from_secs(seconds.into()));
        let since = seconds.max(self.since_time);
        let show = Show {
            since,
            timestamps: self.timestamps,
            limit: self.limit_bytes,
            output: match self.stream {
                Stream::All => None,
                Stream::Stdout => Some(Output::Stdout),
                Stream::Stderr => Some(Output::Stderr),
            },
        };
        Wanted {
            show,
            tail: self.tail_lines,
        }
    }
}

pub(crate) async fn answer(
    State(served): State<Served>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|error| Refusal::BadRequest(error.body_text()))?;
    let (name, object) = find(&served, namespace, pod)?;
    let id = choose(&object, &container, query.previous)?;
    let source = Source { name, id };
    let log = source.log(&served.world.snapshot.borrow())?;
    let wanted = query.wanted(Timestamp::now());
    let root = served.world.pod_logs_dir.clone();
    let shown = log.display().to_string();
    // Watched before it is read, so that no change is missed in between.
    let opened = spawn_blocking(move || {
        let dir = LogDir::open(&root, &log)?;
        let watch = query.follow.then(|| Watch::new(&dir)).transpose()?;
        Ok::<_, io::Error>((Reader::new(dir, wanted)?, watch))
    });
    let opened = opened
        .await
        .map_err(|error| Refusal::Internal(error.to_string()))?;
    let (reader, watch) = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Refusal::NotFound(format!("log {shown} does not exist")),
        _ => Refusal::Internal(format!("cannot read log {shown}: {error}")),
    })?;
    let (chunks, body) = mpsc::channel(QUEUE);
    tokio::spawn(read(reader, watch, source, served, chunks));
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((
        kind,
        Body::from_stream(apart_from_its_end(ReceiverStream::new(body))),
    )
        .into_response())
}

/// The end of an answer leaves by itself: an API server that passes a log on over WebSocket drops what it reads together
/// with it (`messageCopy` in `staging/src/k8s.io/streaming/pkg/httpstream/wsstream/stream.go`). hyper writes what it has
/// when there is nothing more at once.
fn apart_from_its_end<T>(chunks: impl stream::Stream<Item = T>) -> impl stream::Stream<Item = T> {
    let pause = stream::once(tokio::task::yield_now());
    chunks.chain(pause.filter_map(|()| ready(None)))
}

/// The container instance whose log is requested: the running one, else the last that ended; with `previous` the one
/// before. Follows the kubelet's `validateContainerLogStatus`.
fn choose(pod: &Pod, container: &str, previous: bool) -> Result<String, Refusal> {
    if !container_names(pod).contains(&container) {
        return Err(no_container(pod, container));
    }
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let waits = |reason: &str| {
        Refusal::BadRequest(format!(
            "container {container:?} in pod {pod_name:?} is waiting to start: {reason}"
        ))
    };
    let Some(status) = statuses(pod).find(|status| status.name == container) else {
        return Err(waits("no logs yet"));
    };
    let ended = |state: Option<&ContainerState>| {
        let id = state
            .and_then(|state| state.terminated.as_ref())
            .and_then(|ended| ended.container_id.clone());
        id.filter(|id| !id.is_empty())
    };
    let last = || ended(status.last_state.as_ref());
    let state = status.state.as_ref();
    let id = if previous {
        let missing = || format!("previous terminated container {container:?} in pod {pod_name:?} not found");
        last().ok_or_else(|| Refusal::BadRequest(missing()))?
    } else if state.is_some_and(|state| state.running.is_some()) {
        status.container_id.clone().ok_or_else(|| waits("no logs yet"))?
    } else if let Some(id) = ended(state).or_else(last) {
        id
    } else {
        let waiting = state.and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        return Err(waits(reason.unwrap_or("no logs yet")));
    };
    Ok(bare_id(&id).to_owned())
}

/// The container that a log belongs to.
struct Source {
    name: PodName,
    id: String,
}

impl Source {
    fn observed<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a ObservedContainer> {
        let name = snapshot.pods.get(&self.name)?;
        name.uids
            .values()
            .flat_map(|pod| &pod.containers)
            .find(|container| container.id == self.id)
    }

    fn log(&self, snapshot: &Snapshot) -> Result<PathBuf, Refusal> {
        match self.observed(snapshot) {
            Some(container) if !container.log_path.is_empty() => Ok(container.log_path.clone().into()),
            _ => Err(Refusal::NotFound(format!(
                "container {} and its log have been removed",
                self.id
            ))),
        }
    }

    /// Whether nothing more will be written.
    fn has_ended(&self, snapshot: &Snapshot) -> bool {
        self.observed(snapshot)
            .is_none_or(|container| matches!(container.state, Observed::Exited { .. }))
    }
}

/// Notifies of changes in the log's directory.
struct Watch {
    _watcher: RecommendedWatcher,
    changed: Arc<Notify>,
}

impl Watch {
    fn new(dir: &LogDir) -> io::Result<Self> {
        let changed = Arc::new(Notify::new());
        let notify = changed.clone();
        let handler = move |event: notify::Result<notify::Event>| {
            // The agent's own reads must not trigger another read. An error may hide a change.
            if !matches!(
                event,
                Ok(notify::Event {
                    kind: EventKind::Access(_),
                    ..
                })
            ) {
                notify.notify_one();
            }
        };
        let start = || {
            let mut watcher = notify::recommended_watcher(handler)?;
            watcher.watch(dir.path(), RecursiveMode::NonRecursive)?;
            Ok(watcher)
        };
        let watcher = start().map_err(|error: notify::Error| {
            let hint = "check whether fs.inotify.max_user_instances or max_user_watches is exhausted";
            io::Error::other(format!("cannot follow it ({error}); {hint}"))
        })?;
        Ok(Watch {
            _watcher: watcher,
            changed,
        })
    }
}

/// Reads to the end, and with `watch` continues until the container has ended, the caller is gone, or the agent stops.
async fn read(
    mut reader: Reader,
    watch: Option<Watch>,
    source: Source,
    mut served: Served,
    chunks: mpsc::Sender<io::Result<Bytes>>,
) {
    loop {
        // Checked before reading: whatever the container wrote before it ended is then in the file.
        let ended = watch.is_none() || source.has_ended(&served.world.snapshot.borrow_and_update());
        let progress = loop {
            let Some((back, result)) = step(reader).await else {
                return;
            };
            reader = back;
            let (chunk, progress) = match result {
                Ok((chunk, progress)) => (Ok(chunk), progress),
                Err(error) => (Err(error), Progress::Done),
            };
            let worth_sending = chunk.as_ref().map_or(true, |chunk| !chunk.is_empty());
            if worth_sending && chunks.send(chunk).await.is_err() {
                return;
            }
            if progress != Progress::More {
                break progress;
            }
        };
        let (Some(watch), Progress::UpToDate, false) = (&watch, progress, ended) else {
            break;
        };
        tokio::select! {
            // `Notify` stores a permit if there is no waiter, so dropping this future loses nothing.
            () = watch.changed.notified() => {}
            // The new version is seen above at the next turn. An error means that the observer is gone and the agent is
            // stopping.
            changed = served.world.snapshot.changed() => if changed.is_err() { break },
            // Dropping this future loses nothing.
            () = chunks.closed() => return,
            // As above.
            () = served.stopping.cancelled() => break,
        }
    }
    let rest = reader.finish();
    if !rest.is_empty() {
        // The caller may be gone.
        let _ = chunks.send(Ok(rest)).await;
    }
}

/// One step in a thread that may block on the disk; `None` if it panicked, and the response is cut off.
async fn step(mut reader: Reader) -> Option<(Reader, io::Result<(Bytes, Progress)>)> {
    let step = spawn_blocking(move || {
        let result = reader.step();
        (reader, result)
    });
    step.await.ok()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_log_comes_by_itself() {
        let mut chunks = pin!(apart_from_its_end(stream::iter(["one", "two"])));
        for expected in ["one", "two"] {
            assert_eq!(futures::poll!(chunks.next()), Poll::Ready(Some(expected)));
        }
        assert_eq!(futures::poll!(chunks.next()), Poll::Pending);
        assert_eq!(chunks.next().await, None);
    }
}
