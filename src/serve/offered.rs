//! What the endpoints that only the node API has are answered from. The default serves none of them.

use std::collections::BTreeMap;

use super::checkpoint::Checkpoints;
use super::debug::verbosity::Verbosity;
use super::system_logs::SystemLogs;
use super::zpages::Program;
use crate::model::feature_gate::FeatureGate;

/// What the endpoints that only the node API has are answered from.
#[derive(Debug, Default)]
pub struct Offered {
    /// `/flagz`: every flag with its value; `None`: not served.
    pub flags: Option<BTreeMap<String, String>>,
    /// The running program.
    pub program: Program,
    /// Whether `/statusz` is served.
    pub statusz: bool,
    /// `/logs/`
    pub system_logs: SystemLogs,
    /// `/checkpoint/`; `None`: not served.
    pub checkpoints: Option<Checkpoints>,
    /// `/debug/flags/v`; `None`: disabled.
    pub verbosity: Option<Verbosity>,
    /// The feature gates, for `/metrics`.
    pub gates: Vec<FeatureGate>,
    /// Whether `/debug/pprof/` says that there are no profiles, or that it is disabled.
    pub profiling: bool,
}
