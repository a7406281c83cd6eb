//! The static pods with the ephemeral containers that were added to them while they run: the stage between the manifests
//! and the merged set. The only writer of what was added.
//!
//! What was added belongs to a pod's UID: an edited manifest is another pod, without it. It is saved, so that a restarted
//! agent knows the containers that it finds, and forgotten when the pod is no longer wanted.

mod pods;
mod saved;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::pods::Pods;
use self::saved::Saved;
use super::SetReceiver;
use crate::manifest::ManifestContext;
use crate::model::added::{AddRequest, AddRequests, NotAdded};
use crate::model::desired::{Provenance, SourceSet};
use crate::model::pod_name::PodUid;

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
    let saved = Saved::new(directory);
    // Reading a few small files, once, before anything else depends on this task.
    let mut pods = Pods::new(saved.load(), context);
    loop {
        let set = from.borrow_and_update().clone();
        if let Some(set) = &set {
            if set.provenance == Provenance::Live {
                for uid in pods.forget_others(set) {
                    remove(&saved, &uid);
                }
            }
            let (set, failed) = pods.apply(set);
            for (pod, problem) in failed {
                tracing::warn!(%pod, %problem, "the pod runs without the containers that were added to it");
            }
            publish(&out, set);
        }
        tokio::select! {
            // Nothing is half done between two turns.
            () = cancel.cancelled() => return,
            changed = from.changed() => if changed.is_err() { return },
            // A request that was taken is answered below.
            Some(request) = requests.0.recv() => answer(request, &mut pods, set.as_deref(), &saved),
        }
    }
}

fn publish(out: &watch::Sender<Option<Arc<SourceSet>>>, set: SourceSet) {
    out.send_if_modified(|current| {
        let changed = current.as_ref().is_none_or(|current| !current.is_same(&set));
        if changed {
            *current = Some(Arc::new(set));
        }
        changed
    });
}

fn answer(request: AddRequest, pods: &mut Pods, set: Option<&SourceSet>, saved: &Saved) {
    let AddRequest {
        pod,
        container,
        answer,
    } = request;
    let added = pods.check(set, &pod, container).and_then(|addition| {
        match saved.save(&addition.uid, &addition.containers) {
            Ok(()) => {
                pods.take(addition);
                Ok(())
            }
            Err(error) => Err(NotAdded::NotSaved(error.to_string())),
        }
    });
    // It fails if the one who asked has gone.
    let _ = answer.send(added);
}

fn remove(saved: &Saved, uid: &PodUid) {
    if let Err(error) = saved.remove(uid) {
        tracing::warn!(%error, pod_uid = uid.0, "cannot remove the file of a pod's added containers");
    }
}

#[cfg(test)]
mod tests;
