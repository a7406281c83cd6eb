//! Changes what lies in the manifests directory, as people ask through kubectl: the only writer there. Each object
//! is checked as a manifest before it is written, and written as a whole or not at all; the agent then reads the file as any
//! other. Whether the node has room for the pod is seen when it is started.
//!
//! [`manifests`] finds an object in the files, [`decide`] says what is to be written, [`fields`] judges fields that it
//! should not have, and [`carry`] writes it.

mod carry;
mod decide;
mod fields;
mod manifests;

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::carry::Directory;
use crate::manifest::ManifestContext;
use crate::model::manifest_edit::{EditRequest, EditRequests, NotEdited};

/// What the task works with.
#[derive(Debug)]
pub struct EditInputs {
    /// The manifests directory, or a single file; `None`: none is configured.
    pub path: Option<PathBuf>,
    /// What is to be changed.
    pub requests: EditRequests,
    /// How manifests are checked.
    pub context: ManifestContext,
}

/// Carries out changes, one after the other, until canceled.
pub async fn run(inputs: EditInputs, cancel: CancellationToken) {
    let EditInputs {
        path,
        mut requests,
        context,
    } = inputs;
    let directory = Arc::new(Directory::new(path, context));
    loop {
        let request = tokio::select! {
            // What was taken is carried out below.
            () = cancel.cancelled() => return,
            request = requests.0.recv() => request,
        };
        match request {
            Some(request) => answer(&directory, request).await,
            // An event source that ends is a failure, so this one stays.
            None => return cancel.cancelled().await,
        }
    }
}

async fn answer(directory: &Arc<Directory>, request: EditRequest) {
    let EditRequest {
        target,
        edit,
        options,
        answer,
    } = request;
    let directory = directory.clone();
    // A disk that does not answer blocks this task and nothing else.
    let work = tokio::task::spawn_blocking(move || directory.edit(target, edit, options));
    let done = work.await.unwrap_or_else(|error| {
        tracing::error!(%error, "changing a manifest failed: a bug in gantry");
        Err(NotEdited::Failed(
            "changing the manifest failed; the agent's log says why".to_owned(),
        ))
    });
    // It fails if the one who asked has gone.
    let _ = answer.send(done);
}

#[cfg(test)]
mod tests;
