//! When unused images are removed, as configured.

use std::time::Duration;

/// When images are collected (`ImageGCPolicy` in `pkg/kubelet/images/image_gc_manager.go`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePolicy {
    /// `imageGCHighThresholdPercent`: from this use of their file system on, images are removed.
    pub high_percent: u8,
    /// `imageGCLowThresholdPercent`: until this use is reached.
    pub low_percent: u8,
    /// `imageMinimumGCAge`: for how long after it was first seen an image stays.
    pub min_age: Duration,
    /// `imageMaximumGCAge`: after how long without use an image goes, however much room there is; `None`: never.
    pub max_age: Option<Duration>,
}

impl Default for ImagePolicy {
    /// The kubelet's defaults.
    fn default() -> Self {
        ImagePolicy {
            high_percent: 85,
            low_percent: 80,
            min_age: Duration::from_secs(120),
            max_age: None,
        }
    }
}
