//! What the endpoints that only the node API has are answered from. The default serves none of them.

use std::collections::BTreeMap;

use super::system_logs::SystemLogs;
use super::zpages::Program;

/// What the endpoints that only the node API has are answered from.
#[derive(Debug, Default)]
pub struct Endpoints {
    /// `/flagz`: every flag with its value; `None`: not served.
    pub flags: Option<BTreeMap<String, String>>,
    /// `/statusz`; `None`: not served.
    pub program: Option<Program>,
    /// `/logs/`
    pub system_logs: SystemLogs,
}
