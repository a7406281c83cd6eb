//! Resizes of pods in place.

use std::time::Duration;

use super::buckets;
use super::family::{Counter, Distribution, Family, Head};

/// Requested and actuated resizes.
#[derive(Debug)]
pub struct Resizes {
    requested: Counter<3>,
    millis: Distribution<1>,
}

/// An amount of a container's resources, before and after a request.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// `cpu` or `memory`.
    pub resource: &'static str,
    /// `requests` or `limits`.
    pub requirement: &'static str,
    /// In the unit of the resource; `None`: not set.
    pub before: Option<u64>,
    /// Likewise.
    pub after: Option<u64>,
}

impl Default for Resizes {
    fn default() -> Self {
        Resizes {
            requested: Counter::new(Head {
                name: "kubelet_container_requested_resizes_total",
                help: "How often another amount of a container's resource was requested. operation is add, remove, \
                       increase or decrease.",
                labels: ["resource", "requirement", "operation"],
            }),
            millis: Distribution::new(
                Head {
                    name: "kubelet_pod_resize_duration_milliseconds",
                    help: "How long it took in milliseconds to actuate the resize of a pod.",
                    labels: ["success"],
                },
                buckets::RESIZE_MILLIS,
            ),
        }
    }
}

impl Resizes {
    /// Counts an amount if it differs (`resizeOperationForResources` in `pkg/kubelet/kubelet.go`).
    pub fn requested(&self, amount: Amount) {
        let operation = match (amount.before.unwrap_or(0), amount.after.unwrap_or(0)) {
            (before, after) if before == after => return,
            (0, _) => "add",
            (_, 0) => "remove",
            (before, after) if after > before => "increase",
            _ => "decrease",
        };
        let labels = [amount.resource, amount.requirement, operation];
        self.requested.count(labels.map(Into::into));
    }

    /// A resize was actuated, or failed.
    pub fn actuated(&self, took: Duration, failed: bool) {
        let label = if failed { "false" } else { "true" };
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.millis.observe([label.into()], millis as f64);
    }

    pub(super) fn families(&self) -> Vec<&dyn Family> {
        vec![&self.requested, &self.millis]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_added_removed_increased_or_decreased() {
        let check = |before, after, expected: Option<&str>| {
            let resizes = Resizes::default();
            resizes.requested(Amount {
                resource: "cpu",
                requirement: "limits",
                before,
                after,
            });
            let samples = resizes.requested.sample().samples;
            let operation = samples.first().map(|(labels, _)| labels[2].as_ref());
            assert_eq!(operation, expected, "{before:?} {after:?}");
        };
        check(None, None, None);
        check(Some(1), Some(1), None);
        check(None, Some(1), Some("add"));
        check(Some(1), None, Some("remove"));
        check(Some(1), Some(2), Some("increase"));
        check(Some(2), Some(1), Some("decrease"));
    }
}
