//! What the API server has about this node: written by `source`, read by `publish`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, PodStatus};
use serde::{Deserialize, Serialize};

use super::pod::PodName;

/// Marks a mirror pod in the API; its value is the static pod's UID.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// The pods bound to this node, as the API server has them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ApiPods {
    /// Pods bound to this node.
    pub pods: BTreeMap<PodName, Arc<Pod>>,
    /// Mirror pods, which this node created.
    pub mirrors: BTreeMap<PodName, Arc<Pod>>,
}

/// Which API server it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its URL.
    pub server: String,
    /// A hash of the CA certificates that it must be signed with; empty if the system's are trusted.
    pub authority: String,
}

/// The RBAC verb on `nodes/proxy` that exec, attach, port-forward and run require (`streamVerb`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StreamVerb {
    /// `create`, whatever the method of the request.
    #[default]
    Create,
    /// That of the method, as in the kubelet: a WebSocket begins with a GET, so `get` is enough.
    ByMethod,
}

/// Which pods are started from their checkpoint while the API server does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CutOffStart {
    /// Pods that the cluster has not evicted from this node, going by their tolerations of an unreachable node.
    #[default]
    Tolerated,
    /// All of them.
    Always,
    /// None, and no checkpoint is written.
    Never,
}

/// Whether ClusterTrustBundles are projected into volumes (`ClusterTrustBundleProjection`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TrustBundles {
    /// They are.
    Projected,
    /// The feature gate is off, which is the default.
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

/// Whether a status is terminal. `Succeeded` and `Failed` are final (documentation: *Pod Lifecycle*, Pod phase).
pub fn has_final_phase(status: Option<&PodStatus>) -> bool {
    let phase = status.and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
