//! The events of pods that the node does not run any more, or not at all.

use k8s_openapi::api::core::v1::PodStatus;

use super::events::event;
use crate::model::end::End;
use crate::model::event::{EventType, PodEvent};
use crate::model::memory::PodMemory;
use crate::model::runtime::ObservedPod;

/// The event that the node has rejected a pod, unless `previous` already says so.
pub fn refusal(memory: &PodMemory, previous: Option<&PodStatus>) -> Option<PodEvent> {
    let Some(end @ End::Refused { reason, message }) = memory.ended.as_ref() else {
        return None;
    };
    let is_reported = previous.is_some_and(|previous| End::of_status(previous).as_ref() == Some(end));
    (!is_reported).then(|| event(EventType::Warning, reason, message.clone(), ""))
}

/// The event that a pod is evicted, when the memory of it begins to say so. If its checkpoint does already, an agent before
/// this one has told.
pub fn eviction(
    before: Option<&PodMemory>,
    after: &PodMemory,
    seen: Option<&ObservedPod>,
) -> Option<PodEvent> {
    let Some(
        end @ End::Evicted {
            message, annotations, ..
        },
    ) = after.ended.as_ref()
    else {
        return None;
    };
    let had_ended = before.is_some_and(|before| before.uid == after.uid && before.ended.is_some());
    let checkpoint = seen.and_then(|seen| seen.checkpoint.as_ref());
    let is_reported = checkpoint.is_some_and(|checkpoint| checkpoint.ended.is_some());
    (!had_ended && !is_reported).then(|| PodEvent {
        annotations: annotations.clone(),
        ..event(EventType::Warning, end.reason(), message.clone(), "")
    })
}
