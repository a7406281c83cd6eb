//! Answers `/checkpoint/` with the kubelet's codes and texts (`checkpoint` in `pkg/kubelet/server/server.go`), and with
//! 429 or 507 where there is no room.

use std::path::PathBuf;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::bounds::Subject;
use super::store::{Checkpoints, NotBegun, UnderWay};
use crate::disk::write::remove_if_there;
use crate::serve::answer::not_found;
use crate::serve::containers::{container_names, running_id};
use crate::serve::objects::find;
use crate::serve::query::values;
use crate::serve::world::Served;

/// The longest time that a caller can give the runtime: the kubelet sends no answer after it.
const LONGEST: Duration = Duration::from_secs(4 * 60 * 60);

#[derive(Serialize)]
struct Made {
    items: [String; 1],
}

/// Why there is no checkpoint: the code and the text.
type Failure = (StatusCode, String);

pub(crate) async fn answer(
    State(served): State<Served>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(store) = served.world.offered.checkpoints.clone() else {
        return not_found();
    };
    let named = format!("{namespace}/{pod}/{container}");
    let failed = |(code, why): Failure| {
        let text = match code {
            StatusCode::NOT_FOUND => why,
            _ => format!("checkpointing of {named} failed ({why})"),
        };
        (code, text).into_response()
    };
    let internal = |why: String| (StatusCode::INTERNAL_SERVER_ERROR, why);
    let missing = |why: String| (StatusCode::NOT_FOUND, why);
    let Ok((_, object)) = find(&served, namespace.clone(), pod.clone()) else {
        return failed(missing("pod does not exist".to_owned()));
    };
    if !container_names(&object).contains(&container.as_str()) {
        return failed(missing(format!("container {container} does not exist")));
    }
    let Some(seconds) = seconds(query.as_deref().unwrap_or_default()) else {
        return failed(missing("cannot parse value of timeout parameter".to_owned()));
    };
    let Some(id) = running_id(&object, &container) else {
        return failed(internal(format!("container {container} not found")));
    };
    let Ok(seconds) = u64::try_from(seconds) else {
        let why = "CheckpointContainer requires the timeout value to be > 0";
        return failed(internal(why.to_owned()));
    };
    let subject = Subject::new(&namespace, &pod, &container);
    let timeout = Duration::from_secs(seconds).min(LONGEST);
    match make(served, store, subject, id, timeout).await {
        Ok(path) => Json(Made {
            items: [path.display().to_string()],
        })
        .into_response(),
        Err(failure) => failed(failure),
    }
}

/// The last of the timeouts in the query, in seconds; 0 without one.
fn seconds(query: &str) -> Option<i64> {
    values(query, "timeout")
        .last()
        .map_or(Some(0), |value| value.parse().ok())
}

/// Makes the checkpoint in a task of its own: it is under way until the runtime has answered, also when its caller does
/// not wait for it.
async fn make(
    served: Served,
    store: Checkpoints,
    subject: Subject,
    id: String,
    timeout: Duration,
) -> Result<PathBuf, Failure> {
    let internal = |why: String| (StatusCode::INTERNAL_SERVER_ERROR, why);
    let begun = spawn_blocking(move || store.begin(subject, Timestamp::now())).await;
    let begun = begun.map_err(|error| internal(error.to_string()))?;
    let (path, place) = begun.map_err(|error| match error {
        NotBegun::Refused(refused) if refused.is_temporary() => {
            (StatusCode::TOO_MANY_REQUESTS, refused.to_string())
        }
        NotBegun::Refused(refused) => (StatusCode::INSUFFICIENT_STORAGE, refused.to_string()),
        NotBegun::Directory { .. } => internal(error.to_string()),
    })?;
    let made = served
        .sessions
        .clone()
        .spawn(write(served, id, path, timeout, place));
    let made = made.await.map_err(|error| internal(error.to_string()))?;
    made.map_err(internal)
}

async fn write(
    served: Served,
    id: String,
    path: PathBuf,
    timeout: Duration,
    _under_way: UnderWay,
) -> Result<PathBuf, String> {
    let result = tokio::select! {
        result = served.world.runtime.checkpoint_container(&id, &path, timeout) => {
            result.map_err(|error| error.grpc_text())
        }
        // Dropping the call cancels it, as a caller's disconnect does in the kubelet.
        () = served.stopping.cancelled() => Err("the agent is stopping".to_owned()),
    };
    let Err(why) = result else {
        tracing::info!(path = %path.display(), container = id, "made a checkpoint");
        return Ok(path);
    };
    // What the runtime wrote of it is of no use and would be kept for good.
    let unfinished = path.clone();
    let removed = spawn_blocking(move || remove_if_there(&unfinished)).await;
    match removed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(path = %path.display(), %error, "cannot remove an unfinished checkpoint")
        }
        Err(error) => tracing::warn!(%error, "cannot remove an unfinished checkpoint"),
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_timeout_counts() {
        let check = |query: &str, expected: Option<i64>| assert_eq!(seconds(query), expected, "{query}");
        check("", Some(0));
        check("other=1", Some(0));
        check("timeout=5&timeout=7", Some(7));
        check("timeout=-1", Some(-1));
        check("timeout=5s", None);
        check("timeout=", None);
        check("timeout=99999999999999999999", None);
    }
}
