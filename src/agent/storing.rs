//! The checkpoint of API pods: read at the start, and updated while the agent runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::identity::cluster::cluster;
use crate::model::api::{Cluster, CutOffStart};
use crate::source::checkpoint::seal::Keyhole;
use crate::source::checkpoint::store::{self, CheckpointInputs, Reserve, Store, Whose};
use crate::source::checkpoint::stored::{Owner, Stored};

/// The checkpoint of a node.
#[derive(Clone)]
pub struct Storing {
    kubeconfig: PathBuf,
    directory: PathBuf,
    node: String,
    boot: String,
    keyhole: Keyhole,
    how: CutOffStart,
    /// What it held before this start.
    reserve: Option<Reserve>,
    /// When the Lease was last renewed.
    renewed: (
        watch::Sender<Option<Timestamp>>,
        watch::Receiver<Option<Timestamp>>,
    ),
}

impl Storing {
    /// Reads the checkpoint. `boot` identifies the machine's boot. A node that has not joined has none; a node whose
    /// kubeconfig has become unusable has the last one, of whichever cluster.
    /// `keyhole` is where its key is, `patience` how long the API server may be silent before it is used.
    pub async fn new(
        kubeconfig: &Path,
        config: &Config,
        boot: &str,
        keyhole: Keyhole,
        patience: Duration,
    ) -> anyhow::Result<Storing> {
        let mut storing = Storing {
            kubeconfig: kubeconfig.to_owned(),
            directory: config.paths.state.join("cluster"),
            node: config.node.name.clone(),
            boot: boot.to_owned(),
            keyhole,
            how: config.member.cut_off_start,
            reserve: None,
            renewed: watch::channel(None),
        };
        if !kubeconfig.exists() {
            return Ok(storing);
        }
        let (store, whose) = match cluster(kubeconfig).await {
            Ok(cluster) => (storing.of(cluster), Whose::Owners),
            Err(_) => (storing.of(Cluster::default()), Whose::AnyClusters),
        };
        storing.reserve = match storing.how {
            CutOffStart::Never => {
                store
                    .discard()
                    .context("cannot remove the checkpoint of API pods")?;
                None
            }
            CutOffStart::Tolerated | CutOffStart::Always => store.load(whose).map(|stored| Reserve {
                stored: Arc::new(stored),
                how: storing.how,
                boot: boot.to_owned(),
                decided: store.decided(Timestamp::now()),
                patience,
            }),
        };
        Ok(storing)
    }

    fn of(&self, cluster: Cluster) -> Store {
        let owner = Owner {
            node: self.node.clone(),
            cluster,
        };
        Store::new(&self.directory, self.keyhole.clone(), owner, self.boot.clone())
    }

    /// What to use while the API server does not answer.
    pub(super) fn reserve(&self) -> Option<Reserve> {
        self.reserve.clone()
    }

    /// The checkpoint from before this start.
    pub(super) fn stored(&self) -> Option<Arc<Stored>> {
        Some(self.reserve.as_ref()?.stored.clone())
    }

    /// Receives the time of each Lease renewal.
    pub(super) fn renewed(&self) -> watch::Sender<Option<Timestamp>> {
        self.renewed.0.clone()
    }

    /// When it was written.
    pub(super) fn last_renewed(&self) -> watch::Receiver<Option<Timestamp>> {
        self.renewed.1.clone()
    }

    /// Updates the checkpoint, if it is enabled. Starts once there is a client, and so a kubeconfig.
    pub(super) async fn keep(self, inputs: CheckpointInputs, cancel: CancellationToken) {
        if self.how == CutOffStart::Never {
            return cancel.cancelled().await;
        }
        match cluster(&self.kubeconfig).await {
            Ok(cluster) => store::run(inputs, self.of(cluster), cancel).await,
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::warn!(error = %format!("{error:#}"), "cannot write the checkpoint of API pods");
                cancel.cancelled().await;
            }
        }
    }
}
