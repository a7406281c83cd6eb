//! The static pods with the ephemeral containers that were added to them while they run: the stage between the manifests
//! and the merged set. The only writer of what was added.
//!
//! What was added belongs to a pod's UID: an edited manifest is another pod, without it. It is saved, so that a restarted
//! agent knows the containers that it finds, and forgotten when the pod is no longer wanted or is restarted.

mod disk;
mod pods;
mod saved;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::disk::{Disk, Done};
use self::pods::Pods;
use self::saved::Saved;
use super::SetReceiver;
use super::publish::publish;
use crate::manifest::ManifestContext;
use crate::model::added::{AddRequest, AddRequests};
use crate::model::desired::{Provenance, SourceSet};

/// What the stage works with.
#[derive(Debug)]
pub struct AddedInputs {
    /// The pods of the manifests.
    pub pods: SetReceiver,
    /// What is to be added.
    pub requests: AddRequests,
    /// How containers are checked.
    pub context: ManifestContext,
    /// The directory in which additions are saved; created on first use.
    pub directory: PathBuf,
}

/// Passes the pods on with what was added to them, until canceled or until the manifests' source ends.
pub async fn run(inputs: AddedInputs, out: watch::Sender<Option<Arc<SourceSet>>>, cancel: CancellationToken) {
    let AddedInputs {
        pods: mut from,
        mut requests,
        context,
        directory,
    } = inputs;
    // Before anything else: what is passed on without its additions would be another pod.
    let Some((mut disk, added)) = Disk::load(Saved::new(directory)).await else {
        return;
    };
    let mut pods = Pods::new(added, context);
    loop {
        let set = from.borrow_and_update().clone();
        if let Some(set) = &set {
            // What is being saved belongs to a pod that may go meanwhile: the next turn sees it.
            if set.provenance == Provenance::Live && !disk.is_busy() {
                disk.remove(pods.forget_others(set));
            }
            let (set, failed) = pods.apply(set);
            for (pod, problem) in failed {
                tracing::warn!(%pod, %problem, "the pod runs without the containers that were added to it");
            }
            publish(&out, set);
        }
        tokio::select! {
            () = cancel.cancelled() => return disk.finish().await,
            changed = from.changed() => if changed.is_err() { return },
            // Dropping it loses nothing: the work goes on.
            done = disk.done() => match done {
                Done::Saved { addition, answer, result } => {
                    if result.is_ok() {
                        pods.take(addition);
                    }
                    // It fails if the caller has gone.
                    let _ = answer.send(result);
                }
                Done::Removed => {}
            },
            // One after the other: an addition is all of a pod's containers. What was taken is answered.
            Some(request) = requests.0.recv(), if !disk.is_busy() => begin(request, &pods, set.as_deref(), &mut disk),
        }
    }
}

/// Checks a request; what is wrong is answered at once, what is right when it is saved.
fn begin(request: AddRequest, pods: &Pods, set: Option<&SourceSet>, disk: &mut Disk) {
    let AddRequest {
        pod,
        container,
        answer,
    } = request;
    match pods.check(set, &pod, container) {
        Ok(addition) => disk.save(addition, answer),
        Err(wrong) => {
            // It fails if the caller has gone.
            let _ = answer.send(Err(wrong));
        }
    }
}

#[cfg(test)]
mod tests;
