//! Static pods: watches the manifests directory and publishes the complete set of its pods and problems.
//!
//! The kernel's events trigger looks at once; a slow rescan is the safety net. Each look is a [`Directory::look`],
//! which runs on a thread where it may block.

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
use super::writing::LeaseUse;
use crate::manifest::ManifestContext;
use crate::model::pod::{PodUid, SourceSet};
use crate::model::runtime::Snapshot;
use crate::source::SourceError;

/// The most consecutive looks that are discarded because a file was written meanwhile: a file that is written
/// constantly must not hide the others.
const MOST_OVERTAKEN: u32 = 3;
/// What the source reads.
#[derive(Debug)]
pub struct ManifestInputs {
    /// The directory, or a single file; absolute.
    pub path: PathBuf,
    /// The parts of the node's configuration that manifests are read against.
    pub context: ManifestContext,
    /// The interval of the rescan, the safety net for lost events (`fileCheckFrequency`, 20 s).
    pub rescan: Duration,
    /// The directory that preserves the last good version of each manifest over a restart of the agent; without it, a
    /// manifest that is broken then loses its pod.
    pub state: Option<PathBuf>,
    /// The runtime's pods. They are needed only when several manifests claim one name at the start of the agent: the
    /// first plan waits for the same list, so this wait costs nothing.
    pub runtime: channel::Receiver<Arc<Snapshot>>,
}

/// Publishes the pods of a directory, or of a single file, until canceled.
///
/// `out` is `None` until the directory has been read once; a missing directory has no manifests.
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
    let mut directory = Directory::new(path, context, kept.clone(), lease_use());
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
            // The content may be half-written, so it is discarded.
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

/// Whether file leases may be used to find writers: when a process opens a leased file, the kernel sends SIGIO, which
/// ends a process without a handler. tokio keeps its handler until the process ends.
fn lease_use() -> LeaseUse {
    match signal(SignalKind::io()) {
        Ok(_) => LeaseUse::Yes,
        Err(error) => {
            warn!(%error, "cannot check whether a manifest is open for writing; one that is written slowly may be \
             read too early");
            LeaseUse::No
        }
    }
}

/// The UIDs of the pods with a ready sandbox. `None`: not known yet.
fn running(snapshot: &Snapshot) -> Option<BTreeSet<PodUid>> {
    let pods = snapshot.pods.values().flat_map(|observed| &observed.uids);
    let running = pods.filter(|(_, pod)| pod.sandboxes.iter().any(|sandbox| sandbox.ready));
    snapshot
        .listed
        .then(|| running.map(|(uid, _)| uid.clone()).collect())
}

/// Runs work that may wait for a disk on a thread where it blocks nothing else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await.map_err(SourceError::Died)
}

async fn write_down(kept: LastGood, changes: Vec<Change>) -> Result<(), SourceError> {
    if changes.is_empty() {
        return Ok(());
    }
    if let Err(error) = blocking(move || kept.apply(&changes)).await? {
        warn!(%error, "cannot save the last good versions of manifests; a broken manifest may lose its pod at a \
         restart");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
