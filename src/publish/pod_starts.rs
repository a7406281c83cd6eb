//! How long the API server's pods took to start, as its watch shows it
//! (`pkg/kubelet/util/pod_startup_latency_tracker.go`).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

use crate::counters::{PodStarts, Started};
use crate::model::api::ApiPods;
use crate::model::difference::differing;
use crate::model::pod::PodUid;

/// Looks at the pods that have changed.
pub(super) fn look(starts: &PodStarts, before: &ApiPods, after: &ApiPods, now: Timestamp) {
    for name in differing(&before.pods, &after.pods) {
        let (before, after) = (before.pods.get(name), after.pods.get(name));
        let uid = |pod: &Pod| pod.metadata.uid.clone().map(PodUid);
        let (old, new) = (before.and_then(|pod| uid(pod)), after.and_then(|pod| uid(pod)));
        if let Some(old) = old.filter(|old| new.as_ref() != Some(old)) {
            starts.forget(&old);
        }
        if let (Some(pod), Some(uid)) = (after, new) {
            look_at(starts, &uid, pod, now);
        }
    }
}

fn look_at(starts: &PodStarts, uid: &PodUid, pod: &Pod, now: Timestamp) {
    let nothing = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&nothing);
    if is_unschedulable(status) || matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        return starts.forget(uid);
    }
    if !starts.is_starting(uid) {
        // A pod that another agent started is not one that starts.
        if status.start_time.is_none() {
            starts.begin(uid);
        }
        return;
    }
    let statuses = status.container_statuses.as_deref().unwrap_or_default();
    let created = pod.metadata.creation_timestamp.as_ref().map(|created| created.0);
    if let (false, true, Some(created)) = (statuses.is_empty(), statuses.iter().all(is_running), created) {
        let init = status.init_container_statuses.iter().flatten();
        let started = Started {
            since_creation: now.duration_since(created).unsigned_abs(),
            init: init.filter_map(ran).sum(),
            is_stateful: is_stateful(pod),
            has_network: pod
                .spec
                .as_ref()
                .is_none_or(|spec| spec.host_network != Some(true)),
        };
        starts.started(uid, &started);
    }
}

fn is_unschedulable(status: &PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
}

fn is_running(status: &ContainerStatus) -> bool {
    let state = status.state.as_ref();
    state.is_some_and(|state| {
        state
            .running
            .as_ref()
            .is_some_and(|running| running.started_at.is_some())
    })
}

/// How long an init container ran, if it has ended.
fn ran(status: &ContainerStatus) -> Option<Duration> {
    let ended = status.state.as_ref()?.terminated.as_ref()?;
    let (from, to) = (ended.started_at.as_ref()?.0, ended.finished_at.as_ref()?.0);
    Duration::try_from(to.duration_since(from)).ok()
}

/// Whether a volume is of a type that may keep state (the SLI's definition).
fn is_stateful(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().filter_map(|spec| spec.volumes.as_ref()).flatten();
    let is_stateless = |volume: &k8s_openapi::api::core::v1::Volume| {
        volume.secret.is_some()
            || volume.config_map.is_some()
            || volume.downward_api.is_some()
            || volume.empty_dir.is_some()
            || volume.projected.is_some()
    };
    volumes.into_iter().any(|volume| !is_stateless(volume))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::counters::{Counters, Sample};
    use crate::model::pod::PodName;

    fn pods(status: Value, volumes: Value) -> ApiPods {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "creationTimestamp": "2026-11-20T08:00:00Z"},
            "spec": {"containers": [], "volumes": volumes},
            "status": status,
        });
        ApiPods {
            pods: BTreeMap::from([(
                PodName::new("ns", "p"),
                Arc::new(serde_json::from_value(pod).unwrap()),
            )]),
            ..ApiPods::default()
        }
    }

    /// How many values each of the two histograms has, and their sums, after a pod was seen with these statuses.
    fn check(statuses: &[Value], volumes: Value, expected: [(u64, f64); 2]) {
        let counters = Counters::default();
        let mut before = ApiPods::default();
        for status in statuses {
            let after = pods(status.clone(), volumes.clone());
            let now = "2026-11-20T08:00:09Z".parse().unwrap();
            look(&counters.pod_starts, &before, &after, now);
            before = after;
        }
        let of = |name: &str| {
            let family = counters
                .sample()
                .into_iter()
                .find(|family| family.name == name)
                .unwrap();
            match &family.samples[0].1 {
                Sample::Distribution(histogram) => (histogram.count(), histogram.sum()),
                other => panic!("{other:?}"),
            }
        };
        let names = [
            "kubelet_pod_start_total_duration_seconds",
            "kubelet_pod_start_sli_duration_seconds",
        ];
        assert_eq!(names.map(of), expected, "{statuses:?}");
    }

    #[test]
    fn a_pod_that_this_agent_starts_is_counted_once_all_its_containers_run() {
        let running = json!([{"name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"running": {"startedAt": "2026-11-20T08:00:05Z"}}}]);
        let init = json!([{"name": "i", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"terminated": {"exitCode": 0, "startedAt": "2026-11-20T08:00:02Z",
                "finishedAt": "2026-11-20T08:00:04Z"}}}]);
        let new = json!({"phase": "Pending"});
        let waiting = json!({"phase": "Pending", "startTime": "2026-11-20T08:00:01Z"});
        let started = json!({"phase": "Running", "startTime": "2026-11-20T08:00:01Z",
            "containerStatuses": running, "initContainerStatuses": init});
        let all = [new.clone(), waiting, started.clone()];
        check(&all, json!([]), [(1, 9.0), (1, 7.0)]);
        check(
            &all,
            json!([{"name": "v", "hostPath": {"path": "/"}}]),
            [(1, 9.0), (0, 0.0)],
        );
        check(std::slice::from_ref(&started), json!([]), [(0, 0.0), (0, 0.0)]);
        let unschedulable =
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False"}]});
        check(&[new, unschedulable, started], json!([]), [(0, 0.0), (0, 0.0)]);
    }
}
