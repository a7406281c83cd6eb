//! What pods are wanted: each source tells its complete set.
//!
//! A source never says what changed, only what there is now; `None` until it knows. It starts and stops nothing,
//! and what it cannot read it reports beside what it can. [`manifest`] is pure; [`files`] is the only one here that
//! touches the disk, through the modules below it.

pub mod manifest;
mod trail;
mod watch;
mod file;
mod listing;
mod kept;
mod directory;
pub mod files;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch as channel;
use tokio_util::sync::CancellationToken;

use crate::model::pod::{Desired, SourceSet};

/// Why a source ended.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The manifests directory must not depend on where the agent was started.
    #[error("the manifests path {} is not absolute", path.display())]
    Relative {
        /// The path.
        path: PathBuf,
    },
    /// Reading the directory ended without an answer: a fault of this program.
    #[error("the reader of manifests died")]
    Died(#[source] tokio::task::JoinError),
    /// A source ended, and what it wants is not known any more.
    #[error("a source of pods ended")]
    Ended,
}

/// Puts together what all sources want, for now the manifests alone, until it is cancelled or a source ends.
pub async fn merge(
    mut files: channel::Receiver<Option<Arc<SourceSet>>>,
    out: channel::Sender<Arc<Desired>>,
    cancel: CancellationToken,
) -> Result<(), SourceError> {
    loop {
        let desired = Desired {
            files: files.borrow_and_update().clone(),
            api: None,
            api_expected: false,
        };
        out.send_replace(Arc::new(desired));
        tokio::select! {
            // Nothing is begun that would be left half done.
            () = cancel.cancelled() => return Ok(()),
            // A change that is not waited for is still there.
            changed = files.changed() => changed.map_err(|_closed| SourceError::Ended)?,
        }
    }
}
