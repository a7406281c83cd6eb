//! Volumes that were made (`pkg/volume/util/metrics.go`).

use std::time::Duration;

use super::buckets;
use super::family::{Distribution, Family, Head, Label};

/// What is done for volumes.
#[derive(Debug)]
pub struct Volumes {
    operations: Distribution<4>,
    whole: Distribution<2>,
    measured: Distribution<1>,
    csi: Distribution<4>,
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
            csi: Distribution::new(
                Head {
                    name: "csi_operations_seconds",
                    help: "How long calls of storage drivers took in seconds, by driver, call and the code of its result.",
                    labels: ["driver_name", "method_name", "grpc_status_code", "migrated"],
                },
                buckets::STORAGE,
            ),
        }
    }
}

impl Volumes {
    /// A volume was mounted, or its files were written; `plugin` is the kubelet's name of the volume's type.
    pub fn mounted(&self, plugin: Label, took: Duration, failed: bool) {
        let status = if failed { "fail-unknown" } else { "success" };
        let labels = [
            plugin.clone(),
            "volume_mount".into(),
            status.into(),
            "false".into(),
        ];
        self.operations.observe(labels, took.as_secs_f64());
        if !failed {
            let labels = [plugin, "overall_volume_mount".into()];
            self.whole.observe(labels, took.as_secs_f64());
        }
    }

    /// A storage driver has answered a call, or has not; `method` is its path, `code` the name of gRPC's code.
    pub fn called(&self, driver: &str, method: &'static str, code: Label, took: Duration) {
        let labels = [driver.to_owned().into(), method.into(), code, "false".into()];
        self.csi.observe(labels, took.as_secs_f64());
    }

    /// A volume was measured by its driver, which is named, or by asking the kernel (`statfs`).
    pub fn measured(&self, source: Label, took: Duration) {
        self.measured.observe([source], took.as_secs_f64());
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
        vec![&self.operations, &self.whole, &self.measured, &self.csi]
    }
}
