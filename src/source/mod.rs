//! The desired pods: each source publishes its complete set.
//!
//! A source never says what changed, only what there is now; `None` until it knows. It starts and stops nothing,
//! and what it cannot read it reports beside what it can. [`files`] reads the manifests directory, and [`edit`]
//! writes there what people ask for; `object` is the form of an object in a file and in an answer, `stated` all objects of a
//! file.

pub mod files;
pub mod drivers;
pub mod edit;
pub mod restarts;
mod publish;
pub mod added;
pub mod api;
pub mod checkpoint;
mod object;
mod stated;

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
    /// The reader of the directory panicked: a bug in this program.
    #[error("the manifest reader stopped unexpectedly")]
    Died(#[source] tokio::task::JoinError),
    /// A source stopped, so its desired pods are no longer known.
    #[error("a source of pods stopped")]
    Ended,
}

/// The receiver of one source's set; `None` until the source knows its complete set.
pub type SetReceiver = channel::Receiver<Option<Arc<SourceSet>>>;

/// Merges the sets of all sources until canceled or until a source stops. `api` is `None` where no API server is
/// configured.
pub async fn merge(
    mut files: SetReceiver,
    mut api: Option<SetReceiver>,
    out: channel::Sender<Arc<Desired>>,
    cancel: CancellationToken,
) -> Result<(), SourceError> {
    loop {
        let desired = Desired {
            files: files.borrow_and_update().clone(),
            api: api.as_mut().and_then(|api| api.borrow_and_update().clone()),
            api_expected: api.is_some(),
        };
        out.send_replace(Arc::new(desired));
        let api_changed = async {
            match &mut api {
                Some(api) => api.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Checked first: a source that was canceled too may have stopped already, which is not a failure.
            biased;
            // No work is left half done.
            () = cancel.cancelled() => return Ok(()),
            // A change that is not awaited here is not lost.
            changed = files.changed() => changed.map_err(|_closed| SourceError::Ended)?,
            changed = api_changed => changed.map_err(|_closed| SourceError::Ended)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With sources that have stopped.
    async fn merged(cancel: CancellationToken) -> Result<(), SourceError> {
        let (files, api) = (channel::channel(None).1, channel::channel(None).1);
        let (out, _desired) = channel::channel(Arc::default());
        merge(files, Some(api), out, cancel).await
    }

    #[tokio::test]
    async fn a_source_that_ends_is_a_failure_unless_all_are_ending() {
        assert!(merged(CancellationToken::new()).await.is_err());
        // Repeated because `select!` picks among ready arms at random.
        for _ in 0..64 {
            let cancel = CancellationToken::new();
            cancel.cancel();
            assert!(merged(cancel).await.is_ok());
        }
    }
}
