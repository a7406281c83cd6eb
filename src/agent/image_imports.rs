//! Wires the import of images.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::tasks::Tasks;
use crate::config::Config;
use crate::cri::Runtime;
use crate::images::{self, SandboxImage};
use crate::model::collection::Provided;
use crate::model::image_work::ImportRequest;

/// How long a start waits for image imports: running pods must be watched again soon.
const IMAGES_PATIENCE: Duration = Duration::from_secs(10);

/// Imports the sandbox image and the archives in the images directory, then keeps watching the directory; and imports the
/// archives that people send. The first plan waits for the initial import, for a limited time, so that few pods have to
/// be retried. The number that is returned grows with each import; the images that are provided come with it.
pub(super) async fn spawn(
    tasks: &mut Tasks,
    config: &Config,
    runtime: &Runtime,
    sandbox: SandboxImage,
    requests: mpsc::Receiver<ImportRequest>,
) -> (watch::Receiver<u64>, watch::Receiver<Option<Arc<Provided>>>) {
    let scratch = config.paths.state.join("scratch");
    // Remove what a killed agent had unpacked; holding the socket proves that no other agent runs.
    let _ = std::fs::remove_dir_all(&scratch);
    let (mut importer, imported) =
        images::Importer::new(config.images.dir.clone(), scratch, sandbox, runtime.clone());
    let provided = importer.provided();
    tasks.spawn(
        "requested imports",
        importer.requested(requests, tasks.cancel.clone()),
    );
    let cancel = tasks.cancel.clone();
    let (first, scanned_once) = oneshot::channel();
    tasks.spawn("images", async move {
        let end = cancel.clone();
        let import = async move {
            let scanned = importer.scan().await;
            // A start that gave up waiting has continued.
            let _ = first.send(());
            importer.run(scanned, cancel).await;
        };
        // An interrupted import leaves what the next one finds, and a lease that expires.
        tokio::select! {
            () = end.cancelled() => {}
            () = import => {}
        }
    });
    // Whichever comes first: the scan is done, the agent is stopping, or the import continues in the background.
    let _ = tokio::time::timeout(IMAGES_PATIENCE, scanned_once).await;
    (imported, provided)
}
