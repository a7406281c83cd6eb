//! What the API server has of this node: told by `source`, read by `publish`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

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
