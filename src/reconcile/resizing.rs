//! Pods whose resources change while they run: when they are asked about, and what they count with meanwhile.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Key, Loop};
use crate::model::allocation::{self, Allocation};
use crate::model::memory::{Outlook, PodMemory};
use crate::model::pod::Pod;
use crate::model::runtime::ObservedPod;
use crate::model::step::{Occasion, Plan, Step};
use crate::plan::resize::{self, Wish};

/// How often a pod that there was no room for is asked about though nothing has changed (`pkg/kubelet/allocation`).
const ROOM_RETRY: Duration = Duration::from_secs(180);

impl Loop {
    /// Where the pod asks for other resources than it was allotted, notes why it does not get them, or has nothing done
    /// but that the decision is kept: what follows from it is planned when that is seen.
    pub(super) fn resize(
        &mut self,
        pod: &Arc<Pod>,
        seen: Option<&ObservedPod>,
        memory: &mut PodMemory,
        plan: &mut Plan,
        now: Timestamp,
    ) {
        let policy = self.rooms.policy.clone();
        let (kept, seen) = match (resize::wish(pod, seen, memory, now), seen) {
            (Wish::Other(kept), Some(seen)) => (kept, seen),
            (Wish::Unknown, _) => {
                let keep = resize::keep(pod, Allocation::of(pod), Occasion::Begun, &policy);
                *plan = only(keep);
                return;
            }
            (Wish::Waits, _) => return,
            _ => {
                memory.resize = None;
                return;
            }
        };
        match resize::decide(pod, kept, seen, || self.has_room(pod), &policy) {
            Ok(allocation) => {
                memory.resize = None;
                *plan = only(resize::keep(pod, allocation, Occasion::Resized, &policy));
                self.allotting.insert(pod.name.clone(), pod.clone());
            }
            Err(pending) => {
                if pending.outlook == Outlook::Deferred {
                    let retry = now + ROOM_RETRY;
                    plan.wake_at = Some(plan.wake_at.map_or(retry, |at| at.min(retry)));
                }
                memory.resize = Some(pending);
            }
        }
    }

    /// The pod with the resources that it counts with.
    pub(super) fn allotted(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        let decided = self
            .allotting
            .get(&pod.name)
            .filter(|decided| decided.uid == pod.uid);
        if let Some(decided) = decided {
            return decided.clone();
        }
        let name = self.snapshot.pods.get(&pod.name);
        let seen = name.and_then(|name| name.uids.get(&pod.uid));
        match allocation::allotted(pod, seen) {
            Cow::Borrowed(_) => pod.clone(),
            Cow::Owned(allotted) => Arc::new(allotted),
        }
    }

    /// What was decided is seen to be kept, or was not.
    pub(super) fn allotted_is_kept(&mut self, key: &Key) {
        let Key::Pod(name) = key else { return };
        if self.allotting.remove(name).is_some() {
            self.set_levels();
        }
    }

    /// Marks the pods that there was no room for.
    pub(super) fn ask_for_room_again(&mut self) {
        let waits = |memory: &PodMemory| {
            let pending = memory.resize.as_ref();
            pending.is_some_and(|pending| pending.outlook == Outlook::Deferred)
        };
        let waiting = self.memory.pods.iter().filter(|(_, memory)| waits(memory));
        self.dirty.extend(waiting.map(|(name, _)| Key::Pod(name.clone())));
    }

    /// In which order keys are planned: pods that ask for other resources last, in theirs.
    pub(super) fn precedence(&self, key: &Key) -> Option<impl Ord + use<>> {
        let Key::Pod(name) = key else { return None };
        let pod = self.desired.get(name)?;
        let seen = self.snapshot.pods.get(name)?.uids.get(&pod.uid)?;
        let kept = seen.allocation.as_ref().filter(|kept| !kept.satisfies(pod))?;
        Some(resize::precedence(pod, kept))
    }
}

fn only(step: Step) -> Plan {
    Plan {
        stages: vec![vec![step]],
        ..Plan::default()
    }
}
