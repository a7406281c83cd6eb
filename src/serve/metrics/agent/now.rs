//! What is looked at for one answer.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;

use super::process::ProcessStats;
use crate::model::feature_gate::FeatureGate;
use crate::model::pod::Desired;
use crate::model::report::PodsReport;
use crate::model::runtime::Snapshot;
use crate::model::stats::MountedUsages;

/// Values that are not counted but read at each scrape.
#[derive(Debug, Default)]
pub(in crate::serve::metrics) struct Now {
    pub(in crate::serve::metrics) node: Arc<Node>,
    pub(in crate::serve::metrics) report: Arc<PodsReport>,
    pub(in crate::serve::metrics) snapshot: Arc<Snapshot>,
    pub(in crate::serve::metrics) desired: Arc<Desired>,
    pub(in crate::serve::metrics) mounted: Arc<MountedUsages>,
    pub(in crate::serve::metrics) process: Option<ProcessStats>,
    /// The version of Kubernetes that the node reports: `v1.36.2`.
    pub(in crate::serve::metrics) kubernetes_version: String,
    pub(in crate::serve::metrics) gates: Vec<FeatureGate>,
    pub(in crate::serve::metrics) at: Timestamp,
}
