//! How urgent a status update is. Each one costs a request, and a start or an end causes several in quick succession:
//! changes that others act on are published at once, the rest may wait for the next update.

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};

use crate::model::api::has_final_phase;
use crate::model::foreign_status::is_foreign;

/// The condition for a pod with a sandbox and a network.
const HAS_SANDBOX: &str = "PodReadyToStartContainers";

/// When a status is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// At once.
    Now,
    /// With the next update, or after a short delay.
    Soon,
}

/// How soon `ours` replaces the status that the API server has.
pub(super) fn urgency(ours: &PodStatus, theirs: &Pod) -> Urgency {
    let nothing = PodStatus::default();
    let published = theirs.status.as_ref().unwrap_or(&nothing);
    let is_now = if theirs.metadata.deletion_timestamp.is_some() {
        // The pod gets no more traffic: only its end matters, once its sandbox has ended, too.
        has_final_phase(Some(ours)) && holds(ours, HAS_SANDBOX) != Some("True")
    } else {
        differs(ours, published)
    };
    if is_now { Urgency::Now } else { Urgency::Soon }
}

/// Whether the difference affects other components or people who wait for it.
fn differs(ours: &PodStatus, published: &PodStatus) -> bool {
    let conditions = ours.conditions.iter().flatten();
    let mut awaited =
        conditions.filter(|condition| condition.type_ != HAS_SANDBOX && !is_foreign(&condition.type_));
    ours.phase != published.phase
        || ours.reason != published.reason
        || ours.message != published.message
        || ours.container_statuses != published.container_statuses
        || ours.init_container_statuses != published.init_container_statuses
        || awaited.any(|condition| holds(published, &condition.type_) != Some(condition.status.as_str()))
}

/// `True`, `False` or `Unknown`, if the condition is present.
fn holds<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a str> {
    let mut conditions = status.conditions.iter().flatten();
    let found = conditions.find(|condition: &&PodCondition| condition.type_ == kind);
    found.map(|condition| condition.status.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(ours: Value, theirs: Value, deleted: bool, expected: Urgency) {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": []}, "status": theirs});
        if deleted {
            pod["metadata"]["deletionTimestamp"] = json!("2026-11-20T08:00:00Z");
        }
        let status = serde_json::from_value(ours.clone()).unwrap();
        assert_eq!(
            urgency(&status, &serde_json::from_value(pod).unwrap()),
            expected,
            "{ours}"
        );
    }

    fn status(phase: &str, ready: &str, has_sandbox: &str) -> Value {
        json!({"phase": phase, "conditions": [
            {"type": "Ready", "status": ready}, {"type": "PodReadyToStartContainers", "status": has_sandbox}]})
    }

    #[test]
    fn what_others_act_on_is_told_at_once() {
        let creating = status("Pending", "False", "False");
        check(creating.clone(), json!({"phase": "Pending"}), false, Urgency::Now);
        check(
            status("Running", "True", "True"),
            creating.clone(),
            false,
            Urgency::Now,
        );
        check(
            status("Running", "False", "True"),
            status("Running", "True", "True"),
            false,
            Urgency::Now,
        );
        let mut restarted = status("Running", "True", "True");
        restarted["containerStatuses"] =
            json!([{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 1}]);
        check(restarted, status("Running", "True", "True"), false, Urgency::Now);
        // Its own.
        let mut gated = creating.clone();
        gated["conditions"][1] = json!({"type": "example.org/gate", "status": "True"});
        check(creating.clone(), gated, false, Urgency::Soon);
    }

    #[test]
    fn that_there_is_a_sandbox_is_told_along_with_the_containers() {
        let mut made = status("Pending", "False", "True");
        made["podIP"] = json!("10.0.0.1");
        made["observedGeneration"] = json!(2);
        check(made, status("Pending", "False", "False"), false, Urgency::Soon);
    }

    #[test]
    fn of_a_pod_that_is_deleted_the_end_counts() {
        let running = status("Running", "True", "True");
        check(
            status("Running", "False", "True"),
            running.clone(),
            true,
            Urgency::Soon,
        );
        check(
            status("Succeeded", "False", "True"),
            running.clone(),
            true,
            Urgency::Soon,
        );
        check(
            status("Succeeded", "False", "False"),
            running.clone(),
            true,
            Urgency::Now,
        );
        check(json!({"phase": "Failed"}), running, true, Urgency::Now);
    }
}
