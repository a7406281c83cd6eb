//! File work of steps, in places of its own: paths that pods name may lie on a file system whose server is gone, and
//! whoever touches one of those waits as long as it likes.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::{Work, abandoned, failure};
use crate::bulkhead::{Bulkhead, Limits};
use crate::model::step::StepError;

/// How long a volume may take to be made or checked. The kubelet gives all volumes of a pod two minutes
/// (`podAttachAndMountTimeout`) and then says no more than that; here the others are tried meanwhile.
const VOLUME_PATIENCE: Duration = Duration::from_secs(30);
/// How long the removal of a directory may take: an emptyDir may hold millions of files. What takes longer goes on, and
/// is found gone by a later plan.
pub(super) const REMOVAL_PATIENCE: Duration = Duration::from_secs(120);
/// How long work under way is waited for when its plan is given up: nearly all of it is done within milliseconds.
const HANDOVER: Duration = Duration::from_secs(1);

/// Paths of the host that pods name, and parts of volumes. The whole is four for each of the pods that a node has by
/// default.
const HOST_PATHS: Limits = Limits {
    total: 440,
    per_owner: 4,
};
/// The pods' own directories: only what is mounted in them can hang. A pod's volumes are made so many at once.
const POD_DIRECTORIES: Limits = Limits {
    total: 440,
    per_owner: 4,
};

/// The places for file work. Cloning shares them.
#[derive(Debug, Clone)]
pub struct FilePlaces {
    /// How long a volume may take.
    pub(super) patience: Duration,
    host_paths: Bulkhead,
    pod_directories: Bulkhead,
}

impl Default for FilePlaces {
    fn default() -> Self {
        FilePlaces::new(VOLUME_PATIENCE)
    }
}

impl FilePlaces {
    /// With a time for each volume, 30 s by default.
    pub fn new(patience: Duration) -> FilePlaces {
        FilePlaces {
            patience,
            host_paths: Bulkhead::new("host paths", HOST_PATHS),
            pod_directories: Bulkhead::new("pod directories", POD_DIRECTORIES),
        }
    }
}

/// Whose files are touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The host's, or what a pod has put into its volumes.
    Host,
    /// The agent's own, in the directory of a pod.
    Pod,
}

/// Why file work has no result.
#[derive(Debug)]
pub(super) enum FileError {
    /// It failed, or did not return.
    Failed(io::Error),
    /// The plan was given up meanwhile.
    Abandoned,
}

impl FileError {
    /// As the failure of a step, with a message around it.
    pub(super) fn of_step(
        self,
        reason: &'static str,
        message: impl FnOnce(io::Error) -> String,
    ) -> StepError {
        match self {
            FileError::Failed(error) => failure(reason, message(error)),
            FileError::Abandoned => abandoned(reason),
        }
    }
}

impl Work<'_> {
    /// Does file work about a path in a place of the pod's. A plan that is given up (the agent stops, the pod is changed
    /// or deleted) does not wait for what hangs.
    pub(super) async fn in_place<T: Send + 'static>(
        &self,
        whose: Whose,
        path: &Path,
        patience: Duration,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, FileError> {
        let places = &self.context.files;
        let bulkhead = match whose {
            Whose::Host => &places.host_paths,
            Whose::Pod => &places.pod_directories,
        };
        let path = path.display().to_string();
        let running = bulkhead.run(&self.uid.0, &path, patience, work);
        let given_up = async {
            self.cancel.cancelled().await;
            tokio::time::sleep(HANDOVER).await;
        };
        tokio::select! {
            biased;
            result = running => match result {
                Ok(result) => result.map_err(FileError::Failed),
                Err(stuck) => Err(FileError::Failed(io::Error::other(stuck))),
            },
            () = given_up => Err(FileError::Abandoned),
        }
    }
}
