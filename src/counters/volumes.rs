//! Volumes that were made (`pkg/volume/util/metrics.go`).

use std::time::Duration;

use super::buckets;
use super::family::{Distribution, Family, Head};

/// What is done for volumes.
#[derive(Debug)]
pub struct Volumes {
    operations: Distribution<4>,
    whole: Distribution<2>,
    measured: Distribution<1>,
}

impl Default for Volumes {
    fn default() -> Self {
        Volumes {
            operations: Distribution::new(
                Head {
                    name: "storage_operation_duration_seconds",
                    help: "How long an operation on a volume took in seconds, by the type of the volume, the operation \
                           and its result.",
                    labels: ["volume_plugin", "operation_name", "status", "migrated"],
                },
                buckets::STORAGE,
            ),
            whole: Distribution::new(
                Head {
                    name: "volume_operation_total_seconds",
                    help: "How long it took in seconds until a volume was mounted, by the type of the volume.",
                    labels: ["plugin_name", "operation_name"],
                },
                buckets::STORAGE,
            ),
            measured: Distribution::new(
                Head {
                    name: "kubelet_volume_metric_collection_duration_seconds",
                    help: "How long it took in seconds to measure what a volume contains.",
                    labels: ["metric_source"],
                },
                buckets::DEFAULT,
            ),
        }
    }
}

impl Volumes {
    /// A volume was mounted, or its files were written; `plugin` is the kubelet's name of the volume's type.
    pub fn mounted(&self, plugin: &'static str, took: Duration, failed: bool) {
        let status = if failed { "fail-unknown" } else { "success" };
        let labels = [plugin, "volume_mount", status, "false"];
        self.operations
            .observe(labels.map(Into::into), took.as_secs_f64());
        if !failed {
            let labels = [plugin, "overall_volume_mount"];
            self.whole.observe(labels.map(Into::into), took.as_secs_f64());
        }
    }

    /// A volume was measured by walking through it, which the kubelet calls `du`.
    pub fn walked(&self, took: Duration) {
        self.measured.observe(["du".into()], took.as_secs_f64());
    }

    /// A volume was measured by asking its file system for its project quota.
    pub fn asked(&self, took: Duration) {
        self.measured.observe(["fsquota".into()], took.as_secs_f64());
    }

    pub(super) fn families(&self) -> Vec<&dyn Family> {
        vec![&self.operations, &self.whole, &self.measured]
    }
}
