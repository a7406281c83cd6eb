//! Pulls that people ask for (`gantry pull`), as for a pod without secrets of its own: with the credentials of the node, and
//! within its limit on parallel pulls.

use std::time::Duration;

use k8s_cri::v1;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::context::ActContext;
use super::{download, pull};
use crate::model::image_progress::{Phase, Progress};
use crate::model::image_ref::ImageRef;
use crate::model::image_work::{Arrived, NotDone, PullRequest};
use crate::model::outcome::{Failure, StepError};

/// How many requests are worked on at once, those included that wait for a permit; further ones wait in their channel.
const MOST: usize = 16;
/// How often it is looked how far a pull has come: a person looks at the result.
const EACH: Duration = Duration::from_millis(500);

/// Pulls what is asked for until canceled. `arrived` counts the images that became available, so that pods that wait for
/// one are retried at once.
pub async fn run(
    mut requests: mpsc::Receiver<PullRequest>,
    context: ActContext,
    arrived: watch::Sender<u64>,
    cancel: CancellationToken,
) {
    let mut pulls = JoinSet::new();
    loop {
        tokio::select! {
            // Pulls that are under way are dropped, which ends them.
            () = cancel.cancelled() => return,
            // Both are cancel-safe.
            Some(request) = requests.recv(), if pulls.len() < MOST => {
                pulls.spawn(answer(request, context.clone(), arrived.clone()));
            }
            Some(_) = pulls.join_next() => {}
        }
    }
}

async fn answer(request: PullRequest, context: ActContext, arrived: watch::Sender<u64>) {
    let PullRequest {
        image,
        progress,
        mut answer,
    } = request;
    let result = tokio::select! {
        // Dropping the pull ends it in the runtime, too. What was downloaded stays there for the next attempt.
        () = answer.closed() => {
            tracing::info!(image, "image pull canceled by its client");
            return;
        }
        result = requested(&context, &image, &progress) => result,
    };
    if result.is_ok() {
        arrived.send_modify(|count| *count += 1);
    }
    // A client that left meanwhile has the image all the same.
    let _ = answer.send(result);
}

async fn requested(
    context: &ActContext,
    image: &str,
    progress: &watch::Sender<Progress>,
) -> Result<Arrived, NotDone> {
    let reference = ImageRef::parse(image)
        .map_err(|wrong| NotDone::Failed(format!("{image:?} is not an image name: {wrong}")))?;
    let name = reference.with_default_tag().to_string();
    let before = find(context, &name).await?;
    let offered = pull::node_credentials(context, &name).await;
    let permit = context.pulls.acquire().await;
    let _permit = permit.expect("the semaphore is never closed");
    progress.send_replace(Progress::begin(Phase::Downloading));
    let report = |now| {
        progress.send_if_modified(|before| std::mem::replace(before, now) != now);
    };
    let pulled = tokio::select! {
        pulled = pull::pull(context, image, &name, &offered) => pulled,
        // Dropped when the pull has ended; it only reads.
        never = download::watch(&context.runtime, &name, EACH, report) => never,
    };
    let pulled = pulled.map_err(|error| NotDone::Failed(explained(context, error, offered.len())))?;
    let ms = u64::try_from(pulled.took.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(image, ms, "image pulled on request");
    let now = find(context, &name).await?.unwrap_or_default();
    Ok(Arrived {
        was_there: before.is_some_and(|before| before.id == now.id),
        names: vec![name],
        reference: pulled.reference,
        size: now.size,
    })
}

async fn find(context: &ActContext, name: &str) -> Result<Option<v1::Image>, NotDone> {
    let found = context.runtime.image_status(name).await;
    found.map_err(|error| {
        NotDone::Failed(format!(
            "the container runtime does not say whether it has {name}: {error}; `gantry doctor` checks it"
        ))
    })
}

/// The runtime's message, with what people can do.
fn explained(context: &ActContext, error: StepError, offered: usize) -> String {
    if error.failure == Failure::Unreachable {
        return format!("{}; `gantry doctor` checks the runtime", error.message);
    }
    let file = context.docker_config.own_file();
    let file = file.map_or("the node's config.json".to_owned(), |file| {
        file.display().to_string()
    });
    let remedy = match offered {
        0 => format!("the node has no credentials for it: if the registry requires them, add them to {file}"),
        1 => format!(
            "the node's credentials for it were sent; they are those of {file} or a credential provider"
        ),
        several => format!("the node has {several} credentials for it, and none worked; see {file}"),
    };
    format!("{}; {remedy}", error.message)
}
