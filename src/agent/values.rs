//! The values that the rooms share.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use tokio::sync::{mpsc, watch};

use crate::act::pulls_at_work::PullsAtWork;
use crate::act::volume::at_work::AtWork;
use crate::model::api::ApiNode;
use crate::model::changes::Changes;
use crate::model::driver::{Drivers, Publications, Told};
use crate::model::event::Event;
use crate::model::image_work::ImageWorker;
use crate::model::measured::Measured;
use crate::model::memory::Memory;
use crate::model::overlay::{ClusterNetwork, Peers};
use crate::model::pod::Desired;
use crate::model::pod_network::PodNetwork;
use crate::model::pods_use::{PodsUse, Wanted};
use crate::model::report::{PodsReport, StatusWritten};
use crate::model::runtime::Snapshot;
use crate::model::service::Services;
use crate::model::shutdown::ShutdownProgress;

/// A value and its only writer.
pub(super) type Shared<T> = (watch::Sender<T>, watch::Receiver<T>);

/// The values that the rooms share; each has one writer.
pub(super) struct Values {
    pub(super) desired: Shared<Arc<Desired>>,
    pub(super) snapshot: Shared<Arc<Snapshot>>,
    /// The storage drivers that are registered.
    pub(super) drivers: Shared<Arc<Drivers>>,
    /// What they have said of the node since.
    pub(super) driver_answers: Shared<Told>,
    /// What the API server has of them.
    pub(super) driver_publications: Shared<Publications>,
    pub(super) memory: Shared<Arc<Memory>>,
    pub(super) services: Shared<Services>,
    pub(super) api_node: Shared<ApiNode>,
    pub(super) measured: Shared<Arc<Measured>>,
    /// What each pod uses, measured when loop 1 wants it.
    pub(super) pods_use: Shared<Arc<PodsUse>>,
    /// What loop 1 wants to have measured.
    pub(super) wanted: Shared<Wanted>,
    pub(super) pods: Shared<Arc<PodsReport>>,
    pub(super) node: Shared<Arc<Node>>,
    /// The moment from which on the machine is shutting down.
    pub(super) shutting_down: Shared<Option<Timestamp>>,
    /// How far the end of all pods has come, while the machine is shutting down.
    pub(super) shutdown: Shared<Option<ShutdownProgress>>,
    /// The node's pod network, as far as this program provides it.
    pub(super) network: Shared<PodNetwork>,
    /// The nodes of the pod network, as the cluster has them.
    pub(super) peers: Shared<Peers>,
    /// What the cluster says of its pod network.
    pub(super) cluster_network: Shared<ClusterNetwork>,
    /// What is being done with volumes.
    pub(super) at_work: AtWork,
    /// Which images are being pulled for pods.
    pub(super) pulls_at_work: PullsAtWork,
    /// Asks for changes of static pods.
    pub(super) changes: Changes,
    /// Asks for pulls and imports of images.
    pub(super) images: ImageWorker,
    /// The events, for the task that publishes them.
    pub(super) events: mpsc::UnboundedSender<Event>,
    /// The statuses that the API server has taken, for loop 2.
    pub(super) written: mpsc::UnboundedSender<StatusWritten>,
}

impl Values {
    pub(super) fn new(
        events: mpsc::UnboundedSender<Event>,
        written: mpsc::UnboundedSender<StatusWritten>,
        changes: Changes,
        images: ImageWorker,
    ) -> Values {
        Values {
            desired: watch::channel(Arc::default()),
            snapshot: watch::channel(Arc::default()),
            drivers: watch::channel(Arc::default()),
            driver_answers: watch::channel(Told::new()),
            driver_publications: watch::channel(Publications::new()),
            memory: watch::channel(Arc::default()),
            services: watch::channel(Services::NoCluster),
            api_node: watch::channel(ApiNode::Unknown),
            measured: watch::channel(Arc::default()),
            pods_use: watch::channel(Arc::default()),
            wanted: watch::channel(Wanted::default()),
            pods: watch::channel(Arc::default()),
            node: watch::channel(Arc::default()),
            shutting_down: watch::channel(None),
            shutdown: watch::channel(None),
            network: watch::channel(PodNetwork::default()),
            peers: watch::channel(Peers::Unknown),
            cluster_network: watch::channel(ClusterNetwork::Unknown),
            at_work: AtWork::default(),
            pulls_at_work: PullsAtWork::default(),
            changes,
            images,
            events,
            written,
        }
    }
}
