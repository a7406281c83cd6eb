//! The values that responses are made from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::health;
use super::offered::Offered;
use super::volumes::VolumeSources;
use crate::counters::Counters;
use crate::cri::Runtime;
use crate::model::changes::Changes;
use crate::model::image_work::ImageWorker;
use crate::model::pod::Desired;
use crate::model::pull_work::PullWork;
use crate::model::report::PodsReport;
use crate::model::runtime::Snapshot;
use crate::stats;

/// How long pending responses may take to finish once the agent stops.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);

/// The values that responses are made from.
#[derive(Debug, Clone)]
pub struct World {
    /// The reported status of all pods.
    pub pods: watch::Receiver<Arc<PodsReport>>,
    /// The reported Node.
    pub node: watch::Receiver<Arc<Node>>,
    /// The observed state: where logs are, and when a container ends.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The configuration in force, as `/configz` shows it: `{"kubeletconfig": {…}}`.
    pub configz: Arc<serde_json::Value>,
    /// The directory of the pods' logs (`/var/log/pods`); no file outside it is ever read as a log.
    pub pod_logs_dir: PathBuf,
    /// The container runtime, which runs commands, attaches, and knows the network of pods.
    pub runtime: Runtime,
    /// How long nothing may pass on a stream before it is ended (`streamingConnectionIdleTimeout`).
    pub stream_idle: Duration,
    /// A private directory for the pipes of `exec` (`/run/gantry/exec`).
    pub exec_dir: PathBuf,
    /// What the agent counts of its own work.
    pub metrics: Arc<Counters>,
    /// The health of the agent's loops.
    pub health: health::Health,
    /// What the endpoints that only the node API has are answered from.
    pub offered: Arc<Offered>,
    /// Asks for changes of static pods and their manifests.
    pub changes: Changes,
    /// Asks for pulls and imports of images.
    pub images: ImageWorker,
    /// What the node and its pods use.
    pub stats: stats::Handle,
    /// What they keep on disks.
    pub storage: stats::StorageHandle,
    /// What the volumes hold that are mounted for pods.
    pub mounted: stats::MountedHandle,
    /// Which images are being pulled for pods.
    pub pulls: watch::Receiver<PullWork>,
    /// What is known of volumes alone.
    pub volumes: VolumeSources,
    /// What should run, with the objects that pods refer to: which volume is whose.
    pub desired: watch::Receiver<Arc<Desired>>,
}

/// The state shared by all handlers.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) world: World,
    /// Canceled when the agent stops, so that streams end.
    pub(crate) stopping: CancellationToken,
    /// The streams, which outlive their requests.
    pub(crate) sessions: TaskTracker,
}

impl Served {
    pub(super) fn new(world: World, stopping: CancellationToken) -> Served {
        Served {
            world,
            stopping,
            sessions: TaskTracker::new(),
        }
    }

    /// Waits until the streams have ended after `stopping`, at most [`FAREWELL`]. Processes are killed meanwhile.
    pub(super) async fn end_sessions(sessions: TaskTracker) {
        sessions.close();
        if tokio::time::timeout(FAREWELL, sessions.wait()).await.is_err() {
            tracing::warn!(streams = sessions.len(), "some streams did not end in time");
        }
    }
}
