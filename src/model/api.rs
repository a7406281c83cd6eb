//! What the API server has of this node: told by `source`, read by `publish`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, PodStatus};
use serde::{Deserialize, Serialize};

use super::pod::PodName;

/// Marks the image of a static pod in the API; its value is the static pod's UID.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// The pods that the API server has bound to this node, as it has them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ApiPods {
    /// Pods that the node is asked to run.
    pub pods: BTreeMap<PodName, Arc<Pod>>,
    /// Images of static pods, which the node itself made.
    pub mirrors: BTreeMap<PodName, Arc<Pod>>,
}

/// Which API server it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its URL.
    pub server: String,
    /// A sum of the certificates that it must be signed with; empty where the system's are trusted.
    pub authority: String,
}

/// Which pods are started from what was stored of them while the API server does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CutOffStart {
    /// Those that the cluster still leaves to this node, by their tolerations of a node that is not heard of.
    #[default]
    Tolerated,
    /// All of them.
    Always,
    /// None, and nothing is stored.
    Never,
}

/// Whether trust anchors of the cluster are put into volumes (`ClusterTrustBundleProjection`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TrustBundles {
    /// They are.
    Projected,
    /// The feature gate is off, as it is by default.
    #[default]
    Off,
}

/// The Node object as the API server has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ApiNode {
    /// Not read yet.
    #[default]
    Unknown,
    /// There is none.
    Absent,
    /// This.
    Present(Arc<Node>),
}

/// Whether a status tells the pod's end. Nothing follows upon `Succeeded` and `Failed` (documentation: *Pod
/// Lifecycle*, Pod phase).
pub fn tells_end(status: Option<&PodStatus>) -> bool {
    let phase = status.and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
