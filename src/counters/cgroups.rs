//! What was done to cgroups.

use std::time::Duration;

use super::buckets;
use super::family::{Distribution, Family, Gauge, Head};

/// What can be done to a cgroup (`pkg/kubelet/cm/cgroup_manager_linux.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupOperation {
    /// It was not there.
    Create,
    /// It was there, and its values were set.
    Update,
    /// It was removed.
    Destroy,
}

/// What was done to cgroups, and which version of them the machine has.
#[derive(Debug)]
pub struct Cgroups {
    seconds: Distribution<1>,
    version: Gauge<0>,
}

impl Default for Cgroups {
    fn default() -> Self {
        Cgroups {
            seconds: Distribution::new(
                Head {
                    name: "kubelet_cgroup_manager_duration_seconds",
                    help: "How long an operation on a cgroup took in seconds: create, update or destroy.",
                    labels: ["operation_type"],
                },
                buckets::DEFAULT,
            ),
            version: Gauge::new(Head {
                name: "kubelet_cgroup_version",
                help: "The version of cgroups that the machine uses for pods: 1 or 2.",
                labels: [],
            }),
        }
    }
}

impl Cgroups {
    /// An operation has ended.
    pub fn ended(&self, operation: CgroupOperation, took: Duration) {
        let label = match operation {
            CgroupOperation::Create => "create",
            CgroupOperation::Update => "update",
            CgroupOperation::Destroy => "destroy",
        };
        self.seconds.observe([label.into()], took.as_secs_f64());
    }

    /// The machine has this version.
    pub fn has_version(&self, version: u8) {
        self.version.set([], version.into());
    }

    pub(super) fn families(&self) -> Vec<&dyn Family> {
        vec![&self.seconds, &self.version]
    }
}
