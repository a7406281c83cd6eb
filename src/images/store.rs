//! containerd's image store, as every import uses it: one image after the other, and each that is new is announced.

use std::path::PathBuf;
use std::sync::Arc;

use k8s_cri::v1;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tonic::transport::Channel;

use super::blob::ArchiveImage;
use super::import::{self, ImportError, Imported, OnSent};
use crate::cri::{self, Runtime};

/// The image store. Clones share it.
#[derive(Clone)]
pub(super) struct Store {
    /// Where archives are unpacked or received; removed at the agent's start.
    pub(super) scratch: PathBuf,
    /// That of this machine (Go's name).
    pub(super) architecture: &'static str,
    pub(super) runtime: Runtime,
    pub(super) channel: Channel,
    /// containerd takes one writer for a blob, and two archives may have the same.
    turns: Arc<Semaphore>,
    arrived: Arc<watch::Sender<u64>>,
}

impl Store {
    /// The runtime's store; the number that is returned grows with each image that becomes available.
    pub(super) fn new(
        scratch: PathBuf,
        architecture: &'static str,
        runtime: Runtime,
    ) -> (Store, watch::Receiver<u64>) {
        let (arrived, counter) = watch::channel(0);
        let store = Store {
            scratch,
            architecture,
            channel: cri::connect_lazily(runtime.socket()),
            runtime,
            turns: Arc::new(Semaphore::new(1)),
            arrived: Arc::new(arrived),
        };
        (store, counter)
    }

    /// Waits until no other archive is being imported.
    pub(super) async fn turn(&self) -> SemaphorePermit<'_> {
        let turn = self.turns.acquire().await;
        turn.expect("the semaphore is never closed")
    }

    /// Imports one image and waits until the runtime lists it.
    pub(super) async fn import(
        &self,
        image: &ArchiveImage,
        on_sent: &OnSent,
    ) -> Result<Imported, ImportError> {
        let imported = import::import(&self.channel, image, false, on_sent).await?;
        for name in &image.names {
            import::until_known(&self.channel, &self.runtime, name).await?;
        }
        Ok(imported)
    }

    /// The runtime's view of an image.
    pub(super) async fn find(&self, name: &str) -> Option<v1::Image> {
        self.runtime.image_status(name).await.ok().flatten()
    }

    /// Announces that so many images became available.
    pub(super) fn announce(&self, images: u64) {
        self.arrived.send_modify(|count| *count += images);
    }
}
