//! The metadata of the objects. Pure.

use serde::Serialize;

/// The name of the component, under which the tools of a cluster know a node's agent.
pub(super) const COMPONENT: &str = "kubelet";

/// The part of `ObjectMeta` that there is.
#[derive(Debug, Serialize)]
pub(super) struct Metadata {
    name: &'static str,
}

impl Metadata {
    pub(super) const OF_COMPONENT: Metadata = Metadata { name: COMPONENT };
}
