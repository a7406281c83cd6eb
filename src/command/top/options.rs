//! What both forms of `gantry top` are asked.

use std::time::Duration;

use super::state::Containers;
use crate::cli::top::SortKey;

/// The options.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only pods in this namespace; `None`: in all.
    pub namespace: Option<String>,
    /// What the pods are sorted by; in the live view at first.
    pub sort: SortKey,
    /// Whether containers are shown; in the live view at first. JSON has them in any case.
    pub containers: Containers,
    /// The time that is measured; in the live view how often.
    pub interval: Duration,
}
