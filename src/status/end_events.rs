//! The events of pods that the node does not run any more, or not at all.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodStatus;

use super::events::event;
use crate::model::api::has_final_phase;
use crate::model::end::End;
use crate::model::event::{EventType, PodEvent};
use crate::model::memory::PodMemory;
use crate::model::pod::Pod;
use crate::model::runtime::ObservedName;

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
