//! File operations of steps, in bulkheads of their own: paths that pods name may be on a file system whose server is
//! gone, and any task that touches one may block indefinitely.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::failure::{abandoned, failure};
use crate::bulkhead::program::{Ended, Fate, ProgramError};
use crate::bulkhead::{Bulkhead, Limits, Stuck};
use crate::model::outcome::StepError;
use crate::model::pod::PodUid;

/// How long creating or checking a volume may take. The kubelet gives all volumes of a pod two minutes
/// (`podAttachAndMountTimeout`) and then says no more than that; here the others are tried meanwhile.
const VOLUME_PATIENCE: Duration = Duration::from_secs(30);
/// How long the removal of a directory may take: an emptyDir may hold millions of files. A longer removal continues in
/// the background, and a later plan finds the directory gone.
pub(super) const REMOVAL_PATIENCE: Duration = Duration::from_secs(120);

/// Limits for host paths that pods name, and for parts of volumes. The total is four for each of the pods that a node
/// has by default.
const HOST_PATHS: Limits = Limits {
    total: 440,
    per_owner: 4,
};
/// Limits for the pods' own directories: only file systems mounted in them can hang. This many volumes of a pod are
/// created at once.
const POD_DIRECTORIES: Limits = Limits {
    total: 440,
    per_owner: 4,
};

/// The bulkheads for file operations. Clones share them.
#[derive(Debug, Clone)]
pub struct FilePlaces {
    /// The timeout for a volume.
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
    /// With a timeout for each volume, 30 s by default.
    pub fn new(patience: Duration) -> FilePlaces {
        FilePlaces {
            patience,
            host_paths: Bulkhead::new("host paths", HOST_PATHS),
            pod_directories: Bulkhead::new("pod directories", POD_DIRECTORIES),
        }
    }

    /// Runs a file operation in a slot of the pod.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        whose: Whose,
        pod: &PodUid,
        path: &Path,
        patience: Duration,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let path = path.display().to_string();
        let result = self.bulkhead(whose).run(&pod.0, &path, patience, work).await;
        result.unwrap_or_else(|stuck| Err(io::Error::other(stuck)))
    }
}

impl FilePlaces {
    /// Runs a program about a path of the host in a slot of the pod.
    pub(super) async fn run_program(
        &self,
        pod: &PodUid,
        path: &Path,
        patience: Duration,
        program: (Command, Fate),
    ) -> Result<Result<Ended, ProgramError>, Stuck> {
        let path = path.display().to_string();
        let places = self.bulkhead(Whose::Host);
        places.run_program(&pod.0, &path, patience, program).await
    }

    fn bulkhead(&self, whose: Whose) -> &Bulkhead {
        match whose {
            Whose::Host => &self.host_paths,
            Whose::Pod => &self.pod_directories,
        }
    }
}

/// Which files are accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The host's, or a path inside a pod's volumes.
    Host,
    /// The agent's own, in a pod's directory.
    Pod,
}

/// Why a file operation has no result.
#[derive(Debug)]
pub(super) enum FileError {
    /// It failed, or did not return in time.
    Failed(io::Error),
    /// The plan was abandoned meanwhile.
    Abandoned,
}

impl FileError {
    /// The error of a step, with a message around it.
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
