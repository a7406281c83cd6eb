//! Requests to pull, to import and to remove images, from those who ask (`gantry pull`, `gantry import`, `gantry images`)
//! to the rooms that do it. A
//! caller that no longer waits has canceled its request.

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::asking::{Answer, Asker, Stopping, asker};
use super::collection::{Collected, SurveyedImage};
use super::image_progress::Progress;

/// Why an image was not pulled or imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// The runtime, the registry, the archive or the disk is the reason; the text says what and what to do.
    #[error("{0}")]
    Failed(String),
    /// The agent is stopping.
    #[error("gantry is stopping")]
    Stopping,
}

impl From<Stopping> for NotDone {
    fn from(_: Stopping) -> NotDone {
        NotDone::Stopping
    }
}

/// An image that the runtime has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// Its full names.
    pub names: Vec<String>,
    /// The runtime's reference to it.
    pub reference: String,
    /// Its size in bytes, as the runtime counts it; 0 if the runtime does not say.
    pub size: u64,
    /// Whether it was there before under each of its names.
    pub was_there: bool,
}

/// A request to pull an image with the node's credentials.
#[derive(Debug)]
pub struct PullRequest {
    /// The image as the caller wrote it.
    pub image: String,
    /// Receives how far the pull has come.
    pub progress: watch::Sender<Progress>,
    /// Where the answer goes; it is closed if the pull is canceled.
    pub answer: Answer<Arrived, NotDone>,
}

/// A part of an archive, or why the rest of it does not come.
pub type Part = Result<Bytes, String>;

/// A request to import an archive.
#[derive(Debug)]
pub struct ImportRequest {
    /// The archive; the end of the channel is the end of the archive.
    pub archive: mpsc::Receiver<Part>,
    /// How many bytes it will have, if the caller knows.
    pub size: Option<u64>,
    /// Receives how far the import has come.
    pub progress: watch::Sender<Progress>,
    /// Where the answer goes; it is closed if the import is canceled.
    pub answer: Answer<Vec<Arrived>, NotDone>,
}

/// A request about images that nothing uses.
#[derive(Debug)]
pub enum CollectRequest {
    /// What the agent knows of each image: those that may be removed in their order, then the others.
    Survey(Answer<Vec<SurveyedImage>, NotDone>),
    /// To remove all images that may be removed.
    Prune(Answer<Collected, NotDone>),
    /// As for lack of room: before that, to remove the containers of pods that have ended.
    Reclaim(Answer<Collected, NotDone>),
}

/// Pulls, imports and removes images.
#[derive(Debug, Clone)]
pub struct ImageWorker {
    pulls: Asker<PullRequest>,
    imports: Asker<ImportRequest>,
    collections: Asker<CollectRequest>,
}

impl ImageWorker {
    /// Pulls an image as for a pod without secrets of its own: with the credentials of the node. Dropping this cancels it.
    pub async fn pull(&self, image: String, progress: watch::Sender<Progress>) -> Result<Arrived, NotDone> {
        let request = |answer| PullRequest {
            image,
            progress,
            answer,
        };
        self.pulls.ask(request).await
    }

    /// Imports the images of an archive that are for this machine's architecture. Dropping this cancels it.
    pub async fn import(
        &self,
        archive: mpsc::Receiver<Part>,
        size: Option<u64>,
        progress: watch::Sender<Progress>,
    ) -> Result<Vec<Arrived>, NotDone> {
        let request = |answer| ImportRequest {
            archive,
            size,
            progress,
            answer,
        };
        self.imports.ask(request).await
    }

    /// What the agent knows of each image.
    pub async fn survey(&self) -> Result<Vec<SurveyedImage>, NotDone> {
        self.collections.ask(CollectRequest::Survey).await
    }

    /// Removes all images that may be removed. Dropping this does not cancel it.
    pub async fn prune(&self) -> Result<Collected, NotDone> {
        self.collections.ask(CollectRequest::Prune).await
    }

    /// The same, as for lack of room: before that, the containers of pods that have ended are removed.
    pub async fn reclaim(&self) -> Result<Collected, NotDone> {
        self.collections.ask(CollectRequest::Reclaim).await
    }
}

/// The requests, for the rooms that carry them out.
#[derive(Debug)]
pub struct ImageRequests {
    /// Pulls.
    pub pulls: mpsc::Receiver<PullRequest>,
    /// Imports.
    pub imports: mpsc::Receiver<ImportRequest>,
    /// Removals.
    pub collections: mpsc::Receiver<CollectRequest>,
}

/// The two ends.
pub fn image_worker() -> (ImageWorker, ImageRequests) {
    let (pulls, pull_requests) = asker();
    let (imports, import_requests) = asker();
    let (collections, collect_requests) = asker();
    let requests = ImageRequests {
        pulls: pull_requests,
        imports: import_requests,
        collections: collect_requests,
    };
    let worker = ImageWorker {
        pulls,
        imports,
        collections,
    };
    (worker, requests)
}
