//! Static pods: watches the manifests directory and tells the complete set of its pods and problems.
//!
//! The kernel's events say when to look, at once and without a pause; a slow rescan is the net beneath them.
//! Each look is a [`Directory::look`], which runs where it may block.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch as channel;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::directory::Directory;
use super::last_good::{Change, LastGood};
use super::published::Published;
use super::wake::Events;
use super::writing::Asking;
use crate::manifest::ManifestContext;
use crate::model::pod::{PodUid, SourceSet};
use crate::model::runtime::Snapshot;
use crate::source::SourceError;

/// So often in a row a look is thrown away because a file was written meanwhile: one that is written all the time
/// must not keep the others from being seen.
const MOST_OVERTAKEN: u32 = 3;
/// What the source reads.
#[derive(Debug)]
pub struct ManifestInputs {
    /// The directory, or a single file; absolute.
    pub path: PathBuf,
    /// What of the node's configuration manifests are read against.
    pub context: ManifestContext,
    /// The net beneath the kernel's events (`fileCheckFrequency`, 20 s).
    pub rescan: Duration,
    /// The directory that keeps the last good version of each manifest over a restart of the agent; without it a
    /// manifest that is broken then loses its pod.
    pub state: Option<PathBuf>,
    /// What runs. It is looked at once, where several manifests claim one name when the agent starts: nobody plans
    /// anything before it is listed, so nothing is lost by waiting for it.
    pub runtime: channel::Receiver<Arc<Snapshot>>,
}

/// Tells the pods of a directory, or of a single file, until it is cancelled.
///
/// `out` is `None` until the directory has been read once; a directory that is missing has no manifests.
pub async fn run(
    inputs: ManifestInputs,
    out: channel::Sender<Option<Arc<SourceSet>>>,
    cancel: CancellationToken,
) -> Result<(), SourceError> {
    let ManifestInputs {
        path,
        context,
        rescan,
        state,
        mut runtime,
    } = inputs;
    if !path.is_absolute() {
        return Err(SourceError::Relative { path });
    }
    let kept = state.map(LastGood::new);
    let mut published = Published::new(path.clone(), out);
    let mut events = Events::new();
    let mut directory = Directory::new(path, context, kept.clone(), asking());
    let mut overtaken = 0;
    loop {
        let (look, before) = (events.take(), directory.clone());
        let running = match directory.is_settled() {
            true => None,
            false => running(&runtime.borrow_and_update()),
        };
        let (seen, asked);
        (directory, seen, asked) = blocking(move || {
            let mut directory = directory;
            let seen = directory.look(&look, running.as_ref(), Timestamp::now());
            (directory, seen, look)
        })
        .await?;
        if overtaken < MOST_OVERTAKEN && events.overtook(&seen.read) {
            // What was read may be half of what is being written: it never was.
            overtaken += 1;
            directory = before;
            events.ask_again(asked);
            continue;
        }
        overtaken = 0;
        published.publish(&seen);
        events.watch(&seen);
        if let Some(kept) = kept.clone() {
            write_down(kept, seen.changes).await?;
        }
        let runtime = seen.undecided.then_some(&mut runtime);
        let Some(()) = events.wait(seen.again, rescan, runtime, &cancel).await else {
            return Ok(());
        };
    }
}

/// Whether files may be asked who writes them: the kernel answers with SIGIO where somebody opens one at that moment,
/// which ends a process that has no handler for it. tokio's stays to the end of the process.
fn asking() -> Asking {
    match signal(SignalKind::io()) {
        Ok(_) => Asking::Yes,
        Err(error) => {
            warn!(%error, "cannot see who has a manifest open: one that is written slowly may be read too early");
            Asking::No
        }
    }
}

/// The UIDs of the pods that have a sandbox. `None`: not known yet.
fn running(snapshot: &Snapshot) -> Option<BTreeSet<PodUid>> {
    let pods = snapshot.pods.values().flat_map(|observed| &observed.uids);
    let running = pods.filter(|(_, pod)| pod.sandboxes.iter().any(|sandbox| sandbox.ready));
    snapshot
        .listed
        .then(|| running.map(|(uid, _)| uid.clone()).collect())
}

/// Runs what may wait for a disk where that disturbs nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await.map_err(SourceError::Died)
}

async fn write_down(kept: LastGood, changes: Vec<Change>) -> Result<(), SourceError> {
    if changes.is_empty() {
        return Ok(());
    }
    if let Err(error) = blocking(move || kept.apply(&changes)).await? {
        warn!(%error, "cannot keep the last good versions of manifests: a broken one may lose its pod at a restart");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
