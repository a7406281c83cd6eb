//! The events of pods that the node does not run any more, or not at all.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;

use super::events::event;
use super::pod::is_alive;
use crate::model::api::has_final_phase;
use crate::model::end::End;
use crate::model::event::{EventType, PodEvent};
use crate::model::later::later;
use crate::model::memory::PodMemory;
use crate::model::pod::{Pod, PodUid};
use crate::model::runtime::ObservedName;

/// The least time that a pod has to end before its end is late: what the runtime needs after SIGKILL (`killPodNow` in
/// `pkg/kubelet/pod_workers.go`).
const LEAST_TIME: Duration = Duration::from_secs(10);

/// The event that the node has rejected a pod, unless `previous` already says so.
pub fn refusal(memory: &PodMemory, previous: Option<&PodStatus>) -> Option<PodEvent> {
    let Some(end @ End::Refused { reason, message }) = memory.ended.as_ref() else {
        return None;
    };
    let is_reported = previous.is_some_and(|previous| End::of_status(previous).as_ref() == Some(end));
    (!is_reported).then(|| event(EventType::Warning, reason, message.clone(), ""))
}

/// The event that a pod has to leave for a critical one or is evicted, if that was decided since `before`, and by this agent:
/// what an earlier one decided is on disk, and in the end in the pod's status.
pub fn making_room(
    pod: &Pod,
    before: Option<&PodMemory>,
    after: &PodMemory,
    observed: &ObservedName,
) -> Option<PodEvent> {
    let end = after.ended.as_ref()?;
    let annotations = match end {
        End::Preempted => BTreeMap::new(),
        End::Evicted { annotations, .. } => annotations.clone(),
        End::Refused { .. } | End::Deadline | End::Shutdown | End::InStatus { .. } => return None,
    };
    let is_saved = || {
        let seen = observed.uids.get(&pod.uid);
        let saved = seen.and_then(|seen| seen.checkpoint.as_ref()?.ended.as_ref());
        saved == Some(end) || has_final_phase(pod.object.status.as_ref())
    };
    let was_known = match before.filter(|before| before.uid == after.uid) {
        Some(before) => before.ended.as_ref() == Some(end),
        None => is_saved(),
    };
    (!was_known && after.uid == pod.uid).then(|| PodEvent {
        annotations,
        ..event(EventType::Warning, end.reason(), end.message().into_owned(), "")
    })
}

/// From when on the end of a pod that makes room is late, if that was decided `now`: after one and a half times its grace
/// period (`killPodNow` in `pkg/kubelet/pod_workers.go`).
pub fn is_late_from(pod: &Pod, memory: &PodMemory, now: Timestamp) -> Timestamp {
    let left = memory
        .ends_by
        .map(|by| Duration::try_from(by.duration_since(now)));
    // The node gives a pod no more time than the pod itself.
    let grace = left.map_or(pod.grace, |left| left.unwrap_or_default().min(pod.grace));
    let time = grace.saturating_add(grace / 2).max(LEAST_TIME);
    later(now, time)
}

/// The event that the end of a pod is late, if the pod has not ended yet.
pub fn late(uid: &PodUid, observed: &ObservedName) -> Option<PodEvent> {
    is_alive(observed.uids.get(uid)).then(|| {
        let message = "Container runtime did not kill the pod within specified grace period.";
        event(EventType::Warning, "ExceededGracePeriod", message.to_owned(), "")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::RestartPolicy;
    use crate::model::sample::{self, at, exited, instance, observed, running, sandbox};

    #[test]
    fn an_end_is_late_after_one_and_a_half_times_the_grace_period_and_ten_seconds() {
        for (own, by, expected) in [
            (30, None, 45),
            (30, Some(30), 45),
            (30, Some(12), 18),
            (30, Some(1), 10),
            (30, Some(0), 10),
            // The moment of the decision may be seen late.
            (30, Some(-5), 10),
            (4, Some(30), 10),
            (5, None, 10),
        ] {
            let pod = Pod {
                grace: Duration::from_secs(own),
                ..sample::pod(RestartPolicy::Never, &[], &["c"])
            };
            let mut memory = PodMemory::new(pod.uid.clone(), at(0));
            memory.ends_by = by.map(|by| at(100 + by));
            assert_eq!(
                is_late_from(&pod, &memory, at(100)),
                at(100 + expected),
                "{own} {by:?}"
            );
        }
    }

    #[test]
    fn only_a_pod_that_has_not_ended_ends_late() {
        let pod = sample::pod(RestartPolicy::Never, &[], &["c"]);
        let lives = observed(vec![sandbox(0, true, 0)], vec![instance("c", 0, 1, running(1))]);
        let dead = observed(
            vec![sandbox(0, false, 0)],
            vec![instance("c", 0, 1, exited(1, 5, 143))],
        );
        let reason = |observed| late(&pod.uid, observed).map(|event| event.reason);
        assert_eq!(reason(&lives).as_deref(), Some("ExceededGracePeriod"));
        assert_eq!(reason(&dead), None);
        assert_eq!(reason(&ObservedName::default()), None);
        assert_eq!(late(&PodUid("another".to_owned()), &lives), None);
    }
}
