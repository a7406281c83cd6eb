//! What the node's plan decides about resources, carried into the plan of a pod.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Key, Loop};
use crate::model::memory::PodMemory;
use crate::model::pod::Pod;
use crate::model::runtime::ObservedPod;
use crate::model::step::{Plan, Step};
use crate::plan::node::{self, ResizeVerdict};

impl Loop {
    /// Has an allocation kept and nothing else done where it changes, or notes why the pod does not get what it asks for.
    pub(super) fn resize(
        &mut self,
        pod: &Arc<Pod>,
        seen: Option<&ObservedPod>,
        memory: &mut PodMemory,
        plan: &mut Plan,
        now: Timestamp,
    ) {
        let marks = self.marks();
        match node::resize(self.view(marks.as_ref()), pod, seen, memory, now) {
            ResizeVerdict::Granted => memory.resize = None,
            ResizeVerdict::Waits => {}
            ResizeVerdict::Begins(keep) => *plan = only(keep),
            ResizeVerdict::Allotted(keep) => {
                memory.resize = None;
                *plan = only(keep);
                self.decisions.allotting.insert(pod.name.clone(), pod.clone());
            }
            ResizeVerdict::Pending(pending, retry) => {
                memory.resize = Some(pending);
                plan.wake_at = plan.wake_at.into_iter().chain(retry).min();
            }
        }
    }

    /// What was decided is seen to be kept, or was not.
    pub(super) fn allotted_is_kept(&mut self, key: &Key) {
        let Key::Pod(name) = key else { return };
        if self.decisions.allotting.remove(name).is_some() {
            self.dirty.insert(Key::Node);
        }
    }

    /// Marks the pods that there was no room for.
    pub(super) fn ask_for_room_again(&mut self) {
        let waiting = node::waiting_for_room(&self.memory).cloned().map(Key::Pod);
        self.dirty.extend(waiting);
    }
}

fn only(step: Step) -> Plan {
    Plan {
        stages: vec![vec![step]],
        ..Plan::default()
    }
}
