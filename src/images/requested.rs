//! Imports that people ask for (`gantry import`): the archive comes in parts, is written to a temporary file, and imported
//! from there like one of the images directory. A caller that leaves, or sends nothing, leaves nothing behind.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::archive::{self, Archive, ArchiveError};
use super::blob::ArchiveImage;
use super::import::{ImportError, Imported, OnSent};
use super::scratch::{self, Scratch};
use super::store::Store;
use crate::model::error_chain::chain;
use crate::model::image_progress::{Phase, Progress};
use crate::model::image_work::{Arrived, ImportRequest, NotDone, Part};

/// How many archives are received and imported at once; further requests wait in their channel.
const MOST: usize = 4;

/// How far an import has come, for the one who asked.
type Reported = Arc<watch::Sender<Progress>>;

/// Imports what is asked for until canceled.
pub(super) async fn run(
    mut requests: mpsc::Receiver<ImportRequest>,
    store: Store,
    cancel: CancellationToken,
) {
    let mut imports = JoinSet::new();
    let mut number = 0_u64;
    loop {
        tokio::select! {
            // Imports that are under way are dropped; their temporary files go with them.
            () = cancel.cancelled() => return,
            // Both are cancel-safe.
            Some(request) = requests.recv(), if imports.len() < MOST => {
                number += 1;
                imports.spawn(answer(request, store.clone(), number));
            }
            Some(_) = imports.join_next() => {}
        }
    }
}

async fn answer(request: ImportRequest, store: Store, number: u64) {
    let ImportRequest {
        mut archive,
        size,
        progress,
        mut answer,
    } = request;
    let progress = Arc::new(progress);
    let import = async {
        let received = receive(&mut archive, size, &store, number, &progress).await?;
        progress.send_replace(Progress::begin(Phase::Reading));
        let opened = open(received, &store).await?;
        send(&opened.1, &store, &progress).await
    };
    let result = tokio::select! {
        // An interrupted import leaves what the next one finds, and a lease that expires.
        () = answer.closed() => {
            tracing::info!("image import canceled by its client");
            return;
        }
        result = import => result,
    };
    // A client that left meanwhile has its images all the same.
    let _ = answer.send(result);
}

/// Writes the archive to a temporary file.
async fn receive(
    archive: &mut mpsc::Receiver<Part>,
    size: Option<u64>,
    store: &Store,
    number: u64,
    progress: &Reported,
) -> Result<Scratch, NotDone> {
    let name = format!(".requested.{number}.{}", std::process::id());
    let directory = store.scratch.clone();
    let not_kept = |error: std::io::Error| NotDone::Failed(format!("cannot keep the archive: {error}"));
    let made = off_thread(move || {
        let (scratch, writer) = scratch::create(&directory, &name)?;
        writer.require(size.unwrap_or(0))?;
        Ok((scratch, writer))
    });
    let (scratch, mut writer) = made.await.map_err(not_kept)?;
    let mut done = 0;
    progress.send_replace(Progress::of_bytes(Phase::Receiving, done, size));
    while let Some(part) = archive.recv().await {
        let part = part.map_err(NotDone::Failed)?;
        done += part.len() as u64;
        let written = off_thread(move || writer.write_all(&part).map(|()| writer));
        writer = written.await.map_err(not_kept)?;
        progress.send_replace(Progress::of_bytes(Phase::Receiving, done, size));
    }
    Ok(scratch)
}

/// Finds the images of the archive, whose file is to be kept while they are sent.
async fn open(received: Scratch, store: &Store) -> Result<(Scratch, Archive), NotDone> {
    let (directory, architecture) = (store.scratch.clone(), store.architecture);
    let opened = spawn_blocking(move || {
        let opened = archive::open(received.path(), architecture, &directory);
        (received, opened)
    });
    let (received, opened) = opened
        .await
        .map_err(|died| NotDone::Failed(format!("the archive cannot be read: {died}")))?;
    match opened {
        Ok(archive) => Ok((received, archive)),
        // The caller knows its file by another name.
        Err(ArchiveError::Malformed { why, .. }) => {
            Err(NotDone::Failed(format!("this is not an image archive: {why}")))
        }
        Err(ArchiveError::Read { source, .. }) => {
            Err(NotDone::Failed(format!("cannot read the archive: {source}")))
        }
    }
}

/// Sends its images to the runtime.
async fn send(archive: &Archive, store: &Store, progress: &Reported) -> Result<Vec<Arrived>, NotDone> {
    progress.send_replace(Progress::begin(Phase::Waiting));
    let _turn = store.turn().await;
    let all = archive.images.iter().map(ArchiveImage::size);
    let on_sent = reporting(all.fold(0, u64::saturating_add), progress.clone());
    let mut arrived = Vec::new();
    for image in &archive.images {
        let imported = store
            .import(image, &on_sent)
            .await
            .map_err(|error| explained(&error))?;
        let found = match image.names.first() {
            Some(name) => store.find(name).await,
            None => None,
        };
        let found = found.unwrap_or_default();
        if imported == Imported::New {
            tracing::info!(images = ?image.names, "image imported on request");
            store.announce(1);
        }
        arrived.push(Arrived {
            names: image.names.clone(),
            reference: found.id,
            size: found.size,
            was_there: imported == Imported::AlreadyThere,
        });
    }
    Ok(arrived)
}

/// Adds up what is sent.
fn reporting(total: u64, progress: Reported) -> OnSent {
    let sent = AtomicU64::new(0);
    progress.send_replace(Progress::of_bytes(Phase::Storing, 0, Some(total)));
    Arc::new(move |more| {
        let done = sent.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        progress.send_replace(Progress::of_bytes(Phase::Storing, done.min(total), Some(total)));
    })
}

fn explained(error: &ImportError) -> NotDone {
    let is_other_runtime =
        matches!(error, ImportError::Refused { source, .. } if source.code() == Code::Unimplemented);
    NotDone::Failed(match is_other_runtime {
        true => "the container runtime cannot import images, as only containerd can: push the image to a registry and \
                 use `gantry pull`"
            .to_owned(),
        false => chain(error),
    })
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    spawn_blocking(work).await.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cri::{Runtime, Settings};
    use crate::model::image_work::{ImageWorker, image_worker};

    /// A worker whose runtime does not answer.
    struct Working {
        directory: tempfile::TempDir,
        worker: ImageWorker,
        cancel: CancellationToken,
        running: tokio::task::JoinHandle<()>,
    }

    impl Working {
        fn new() -> Working {
            let directory = tempfile::tempdir().unwrap();
            let socket = directory.path().join("no-containerd.sock");
            let runtime = Runtime::new(&Settings::at(socket, std::time::Duration::from_secs(5)));
            let (store, _) = Store::new(directory.path().join("scratch"), "amd64", runtime);
            let (worker, requests) = image_worker();
            let cancel = CancellationToken::new();
            Working {
                running: tokio::spawn(run(requests.imports, store, cancel.clone())),
                directory,
                worker,
                cancel,
            }
        }

        /// How many temporary files there are.
        fn files(&self) -> usize {
            std::fs::read_dir(self.directory.path().join("scratch"))
                .unwrap()
                .count()
        }

        /// How many are left when it has ended.
        async fn left(mut self) -> usize {
            self.cancel.cancel();
            (&mut self.running).await.unwrap();
            self.files()
        }
    }

    /// The outcome for these parts, and what is left in the scratch directory.
    async fn outcome(parts: Vec<Part>, size: Option<u64>) -> (String, usize, Progress) {
        let working = Working::new();
        let (to, from) = mpsc::channel(parts.len().max(1));
        for part in parts {
            to.send(part).await.unwrap();
        }
        drop(to);
        let (progress, reached) = watch::channel(Progress::default());
        let refused = working.worker.import(from, size, progress).await.unwrap_err();
        let reached = *reached.borrow();
        (refused.to_string(), working.left().await, reached)
    }

    #[tokio::test]
    async fn what_is_no_archive_or_does_not_come_whole_leaves_nothing_behind() {
        let part = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
        let refused = outcome(vec![part("no "), part("archive")], Some(10)).await;
        assert_eq!(
            (refused.0.as_str(), refused.1, refused.2.phase),
            (
                "this is not an image archive: it is damaged or not a tar file: failed to read entire block",
                0,
                Phase::Reading
            )
        );
        let cut = outcome(vec![part("no "), Err("it ended early".to_owned())], None).await;
        let received = Progress::of_bytes(Phase::Receiving, 3, None);
        assert_eq!(cut, ("it ended early".to_owned(), 0, received));
        let large = outcome(vec![part("no")], Some(1 << 62)).await;
        assert!(large.0.contains("would be nearly full"), "{large:?}");
        assert_eq!(large.1, 0);
    }

    #[tokio::test]
    async fn an_import_whose_caller_left_is_canceled() {
        let working = Working::new();
        let worker = working.worker.clone();
        let (to, from) = mpsc::channel(1);
        let (progress, mut reached) = watch::channel(Progress::default());
        let import = tokio::spawn(async move { worker.import(from, None, progress).await });
        to.send(Ok(Bytes::from_static(b"the beginning"))).await.unwrap();
        let received = Progress::of_bytes(Phase::Receiving, 13, None);
        reached.wait_for(|reached| *reached == received).await.unwrap();
        assert_eq!(working.files(), 1);
        import.abort();
        // Nobody receives any more.
        to.closed().await;
        assert_eq!(working.left().await, 0);
    }
}
