//! What is answered from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::health;
use super::metrics;
use crate::model::report::PodsReport;
use crate::model::runtime::Snapshot;

/// How long answers under way may take to end once the agent stops.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);

/// What is answered from.
#[derive(Debug, Clone)]
pub struct World {
    /// What is told of the pods.
    pub pods: watch::Receiver<Arc<PodsReport>>,
    /// What is told of the node.
    pub node: watch::Receiver<Arc<Node>>,
    /// What is observed: where logs are, and when a container ends.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The configuration in force, as `/configz` shows it: `{"kubeletconfig": {…}}`.
    pub configz: Arc<serde_json::Value>,
    /// The directory of the pods' logs (`/var/log/pods`); nothing outside is ever read as a log.
    pub pod_logs_dir: PathBuf,
    /// containerd's socket, which `exec` asks.
    pub containerd: PathBuf,
    /// A directory of our own for the pipes of `exec` (`/run/gantry/exec`).
    pub exec_dir: PathBuf,
    /// What the agent counts of itself.
    pub metrics: Arc<metrics::Metrics>,
    /// Whether its loops turn.
    pub health: health::Health,
}

/// What every handler is given.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) world: World,
    /// Cancelled when the agent stops: streams end.
    pub(crate) stopping: CancellationToken,
}
