//! What the node's verdicts change in the memory and in its decisions.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::{DeferredAdmission, NodeDecisions, Verdict};
use crate::model::end::End;
use crate::model::later::later;
use crate::model::memory::{Memory, PodMemory};
use crate::model::pod::{Pod, PodName, PodUid, Source};
use crate::model::runtime::{ObservedName, Snapshot};
use crate::plan::admit::Refusal;
use crate::plan::restart;

/// What the verdicts have changed.
#[derive(Debug, Default)]
pub struct Applied {
    /// The names that have to be planned again.
    pub dirty: BTreeSet<PodName>,
    /// The pods that were rejected and had not been before.
    pub rejected: Vec<(Arc<Pod>, Refusal)>,
}

/// Brings memory and decisions up to date with the verdicts of a plan, which are all that count from now on.
pub fn apply(
    verdicts: Vec<(Arc<Pod>, Verdict)>,
    decisions: &mut NodeDecisions,
    memory: &mut Memory,
    now: Timestamp,
) -> Applied {
    let were_rejected = std::mem::take(&mut decisions.rejected);
    let were_deferred = std::mem::take(&mut decisions.deferred);
    let have_waited = std::mem::take(&mut decisions.waiting);
    let mut applied = Applied::default();
    for (pod, verdict) in verdicts {
        match verdict {
            Verdict::Admitted => {
                let was_rejected = were_rejected.contains_key(&pod.name);
                if was_rejected {
                    forget_end(memory, &pod);
                }
                let deferred = were_deferred.get(&pod.name).map(|deferred| &deferred.uid);
                let waited = have_waited.get(&pod.name);
                if was_rejected || [deferred, waited].contains(&Some(&pod.uid)) {
                    applied.dirty.insert(pod.name.clone());
                }
            }
            Verdict::Deferred(since) => {
                let uid = pod.uid.clone();
                let deferred = DeferredAdmission { uid, since };
                decisions.deferred.insert(pod.name.clone(), deferred);
            }
            Verdict::Waits(_) => {
                // A static pod stays rejected until it has room.
                if let Some(rejected) = were_rejected.get(&pod.name).filter(|(uid, _)| *uid == pod.uid) {
                    decisions.rejected.insert(pod.name.clone(), rejected.clone());
                }
                decisions.waiting.insert(pod.name.clone(), pod.uid.clone());
            }
            Verdict::Rejected(refusal) => {
                applied.dirty.insert(pod.name.clone());
                // A pod reported to the API server as failed has been replaced by now: it does not come back.
                if pod.source != Source::Api {
                    let rejected = (pod.uid.clone(), refusal.clone());
                    decisions.rejected.insert(pod.name.clone(), rejected);
                }
                if remember(memory, &pod, &refusal, now) {
                    applied.rejected.push((pod, refusal));
                }
            }
        }
    }
    applied
}

/// Answers whether it is news.
fn remember(memory: &mut Memory, pod: &Pod, refusal: &Refusal, now: Timestamp) -> bool {
    let ended = Some(refusal.end());
    let before = memory.pods.get(&pod.name);
    if before.is_some_and(|before| before.uid == pod.uid && before.ended == ended) {
        return false;
    }
    // What the pod before it has left is removed all the same. One that was itself rejected has left nothing.
    let former = before.and_then(|before| former(before, pod));
    let fresh = PodMemory::new(pod.uid.clone(), now);
    let rejected = PodMemory {
        ended,
        former,
        ..fresh
    };
    memory.pods.insert(pod.name.clone(), Arc::new(rejected));
    true
}

/// Ends the pods that have to leave for a critical one, in the memory. They have their grace period.
pub fn end_for_critical(victims: &[Arc<Pod>], snapshot: &Snapshot, memory: &mut Memory, now: Timestamp) {
    for pod in victims {
        let by = later(now, pod.grace);
        end(pod, End::Preempted, Some(by), snapshot, memory, now);
    }
}

/// Ends a pod in the memory, by then if its grace period is not shorter.
pub fn end(
    pod: &Pod,
    why: End,
    by: Option<Timestamp>,
    snapshot: &Snapshot,
    memory: &mut Memory,
    now: Timestamp,
) {
    let nothing = ObservedName::default();
    let observed = snapshot.pods.get(&pod.name).map_or(&nothing, AsRef::as_ref);
    let before = memory.pods.get(&pod.name);
    let mut own = restart::remembered(before.map(AsRef::as_ref), pod, observed, now);
    if let Some(before) = before.filter(|before| before.uid != pod.uid) {
        own.former = former(before, pod);
    }
    own.ends_by = match own.ended {
        // It has no more time for a second reason.
        Some(_) => own.ends_by.into_iter().chain(by).min(),
        None => by,
    };
    own.ended.get_or_insert(why);
    memory.pods.insert(pod.name.clone(), Arc::new(own));
}

/// Forgets the end of a pod that runs after all, but not the pod of its name that was here before: its log directory is
/// found by nothing else. A memory of that one itself, whose removal has failed, stays as it is.
pub(super) fn forget_end(memory: &mut Memory, pod: &Pod) {
    let before = memory.pods.get(&pod.name);
    let Some(before) = before.filter(|before| before.uid == pod.uid) else {
        return;
    };
    match before.former.clone() {
        Some(former) => {
            let left = PodMemory::new(former, before.started);
            memory.pods.insert(pod.name.clone(), Arc::new(left));
        }
        None => {
            memory.pods.remove(&pod.name);
        }
    }
}

/// The pod of the name that was here before, of which something may be left.
pub(super) fn former(before: &PodMemory, pod: &Pod) -> Option<PodUid> {
    let own = before.remaining().find(|uid| **uid != pod.uid);
    before.former.as_ref().or(own).cloned()
}
