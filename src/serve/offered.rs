//! What the endpoints that only the node API has are answered from. The default serves none of them.

use std::collections::BTreeMap;

use super::checkpoint::Checkpoints;
use super::system_logs::SystemLogs;
use super::zpages::Program;

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
}
