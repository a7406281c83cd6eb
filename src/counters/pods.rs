//! Work on pods: admission, plans and their durations, sandboxes, published statuses.

use std::time::Duration;

use super::buckets;
use super::family::{Counter, Distribution, Family, Gauge, Head, Label};

/// The reasons that have a number of their own (`admissionRejectionReasons` in `pkg/kubelet/kubelet.go`): others would
/// be chosen by whoever names an extended resource.
const REJECTIONS: [&str; 21] = [
    "AppArmor",
    "PodOSSelectorNodeLabelDoesNotMatch",
    "PodOSNotSupported",
    "InvalidNodeInfo",
    "InitContainerRestartPolicyForbidden",
    "SupplementalGroupsPolicyNotSupported",
    "UnexpectedAdmissionError",
    "UnknownReason",
    "UnexpectedPredicateFailureType",
    "OutOfcpu",
    "OutOfmemory",
    "OutOfephemeral-storage",
    "OutOfpods",
    "PodLevelResourcesNotSupported",
    "PodFeatureUnsupported",
    "node(s) had taints that the pod didn't tolerate",
    "Evicted",
    "SysctlForbidden",
    "TopologyAffinityError",
    "NodeShutdown",
    "VolumeAttachmentLimitExceeded",
];

/// What the work on a pod is for: the kubelet's types of a pod worker's operations, of which `update` is a `sync` here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodWork {
    /// Nothing of the pod is there yet.
    Create,
    /// Something of it is there.
    Sync,
    /// It is ended.
    Kill,
}

impl PodWork {
    fn label(self) -> Label {
        let text = match self {
            PodWork::Create => "create",
            PodWork::Sync => "sync",
            PodWork::Kill => "kill",
        };
        text.into()
    }
}

/// Work on pods.
#[derive(Debug)]
pub struct Pods {
    rejections: Counter<1>,
    preemptions: Counter<1>,
    worker_seconds: Distribution<1>,
    worker_start: Distribution<0>,
    containers_per_pod: Distribution<0>,
    evictions: Counter<1>,
    started: Counter<0>,
    start_errors: Counter<0>,
    user_namespaced: Counter<0>,
    user_namespaced_errors: Counter<0>,
    restarted: Counter<1>,
    orphans: Counter<0>,
    start_seconds: Distribution<0>,
    status_seconds: Distribution<0>,
    mirrors: Gauge<0>,
}

impl Default for Pods {
    fn default() -> Self {
        let labels = [];
        let counter = |name, help| Counter::new(Head { name, help, labels });
        let distribution = |name, help, bounds| Distribution::new(Head { name, help, labels }, bounds);
        let pods = Pods {
            rejections: rejections(),
            preemptions: preemptions(),
            worker_seconds: Distribution::new(
                Head {
                    name: "kubelet_pod_worker_duration_seconds",
                    help: "How long a plan for a pod took in seconds, by what it was for: create, sync or kill.",
                    labels: ["operation_type"],
                },
                buckets::DEFAULT,
            ),
            worker_start: distribution(
                "kubelet_pod_worker_start_duration_seconds",
                "How many seconds after a pod was first seen the work on it began.",
                buckets::DEFAULT,
            ),
            containers_per_pod: distribution(
                "kubelet_containers_per_pod_count",
                "How many containers the started pods have, without init containers.",
                buckets::CONTAINERS,
            ),
            evictions: evictions(),
            started: counter(
                "kubelet_started_pods_total",
                "How often the sandbox of a pod was to be created.",
            ),
            start_errors: counter(
                "kubelet_started_pods_errors_total",
                "How often the sandbox of a pod could not be created.",
            ),
            user_namespaced: user_namespaced(),
            user_namespaced_errors: user_namespaced_errors(),
            restarted: restarted(),
            orphans: counter(
                "kubelet_orphaned_runtime_pods_total",
                "How many pods were found in the runtime that no source has wanted since the agent started.",
            ),
            start_seconds: distribution(
                "kubelet_pod_start_duration_seconds",
                "How many seconds after a pod was first seen it was running.",
                buckets::POD_START,
            ),
            status_seconds: distribution(
                "kubelet_pod_status_sync_duration_seconds",
                "How many seconds after a change the API server had the pod's status.",
                buckets::STATUS,
            ),
            mirrors: Gauge::new(Head {
                name: "kubelet_mirror_pods",
                help: "How many mirror pods the API server has for the static pods of the node.",
                labels,
            }),
        };
        pods.mirrored(0);
        pods
    }
}

fn rejections() -> Counter<1> {
    Counter::new(Head {
        name: "kubelet_admission_rejections_total",
        help: "How many pods were rejected at admission, by reason.",
        labels: ["reason"],
    })
}

fn evictions() -> Counter<1> {
    Counter::new(Head {
        name: "kubelet_evictions",
        help: "How many pods were evicted, by what was short or exceeded.",
        labels: ["eviction_signal"],
    })
}

fn preemptions() -> Counter<1> {
    Counter::new(Head {
        name: "kubelet_preemptions",
        help: "How many pods had to end to make room for a critical pod, by the resource that it lacked first.",
        labels: ["preemption_signal"],
    })
}

fn user_namespaced() -> Counter<0> {
    Counter::new(Head {
        name: "kubelet_started_user_namespaced_pods_total",
        help: "How many sandboxes of pods with a user namespace were to be created.",
        labels: [],
    })
}

fn user_namespaced_errors() -> Counter<0> {
    Counter::new(Head {
        name: "kubelet_started_user_namespaced_pods_errors_total",
        help: "How many sandboxes of pods with a user namespace could not be created.",
        labels: [],
    })
}

/// Both numbers are there from the beginning.
fn restarted() -> Counter<1> {
    let family = Counter::new(Head {
        name: "kubelet_restarted_pods_total",
        help: "How many pods came back with the same UID while the former one was still there. static is true \
               if the pod is not from the API server.",
        labels: ["static"],
    });
    for is_static in [false, true] {
        family.add([static_label(is_static)], 0);
    }
    family
}

impl Pods {
    /// A pod was rejected for this reason.
    pub fn rejected(&self, reason: &str) {
        let known = REJECTIONS.into_iter().find(|known| *known == reason);
        let label = known.unwrap_or(match reason.starts_with("OutOf") {
            true => "OutOfExtendedResources",
            false => "Other",
        });
        self.rejections.count([label.into()]);
    }

    /// A pod was evicted for this signal.
    pub fn evicted(&self, signal: &'static str) {
        self.evictions.count([signal.into()]);
    }

    /// A pod has to end for a critical one that lacks this resource.
    pub fn preempted(&self, resource: &str) {
        self.preemptions.count([resource.to_owned().into()]);
    }

    /// The work on a new pod begins, which has so many containers and was first seen so long ago.
    pub fn begun(&self, containers: usize, since_seen: Duration) {
        self.containers_per_pod.observe([], containers as f64);
        self.worker_start.observe([], since_seen.as_secs_f64());
    }

    /// A plan was carried out.
    pub fn worked(&self, work: PodWork, took: Duration) {
        self.worker_seconds.observe([work.label()], took.as_secs_f64());
    }

    /// A sandbox was to be created.
    pub fn sandboxed(&self, failed: bool) {
        self.started.count([]);
        self.start_errors.add([], u64::from(failed));
    }

    /// One with a user namespace was.
    pub fn user_namespaced(&self, failed: bool) {
        self.user_namespaced.count([]);
        self.user_namespaced_errors.add([], u64::from(failed));
    }

    /// A pod came back while the former one was still there.
    pub fn restarted(&self, is_static: bool) {
        self.restarted.count([static_label(is_static)]);
    }

    /// A pod was found that no source wants.
    pub fn orphaned(&self) {
        self.orphans.count([]);
    }

    /// The API server has so many mirror pods.
    pub fn mirrored(&self, pods: usize) {
        self.mirrors.set([], pods as f64);
    }

    /// A pod is running for the first time, so long after it was first seen.
    pub fn running(&self, since_seen: Duration) {
        self.start_seconds.observe([], since_seen.as_secs_f64());
    }

    /// The API server has a status, so long after it changed.
    pub fn published(&self, since_change: Duration) {
        self.status_seconds.observe([], since_change.as_secs_f64());
    }

    pub(super) fn families(&self) -> Vec<&dyn Family> {
        vec![
            &self.rejections,
            &self.preemptions,
            &self.worker_seconds,
            &self.worker_start,
            &self.containers_per_pod,
            &self.evictions,
            &self.started,
            &self.start_errors,
            &self.user_namespaced,
            &self.user_namespaced_errors,
            &self.restarted,
            &self.orphans,
            &self.start_seconds,
            &self.status_seconds,
            &self.mirrors,
        ]
    }
}

/// The kubelet's label of a pod that is not from the API server.
fn static_label(is_static: bool) -> Label {
    if is_static { "true" } else { "" }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::family::Sample;

    #[test]
    fn only_known_reasons_of_rejections_have_numbers_of_their_own() {
        let pods = Pods::default();
        for reason in ["OutOfcpu", "OutOfcpu", "OutOfexample.com/dongle", "NodeAffinity"] {
            pods.rejected(reason);
        }
        let expected = [("Other", 1), ("OutOfExtendedResources", 1), ("OutOfcpu", 2)];
        let expected = expected.map(|(reason, count)| (vec![Label::from(reason)], Sample::Count(count)));
        assert_eq!(pods.rejections.sample().samples, expected);
    }
}
