//! The node's plan, carried out: into memory and decisions, the cgroups above the pods, and the plans of pods that are
//! resized.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Key, Loop};
use crate::model::api::ApiNode;
use crate::model::memory::PodMemory;
use crate::model::placement::NodeMarks;
use crate::model::pod::{Pod, PodName, Volume, VolumeSource};
use crate::model::runtime::ObservedPod;
use crate::model::step::{Plan, Step};
use crate::plan::node::{self, NodeView, ResizeVerdict};

impl Loop {
    /// What the node's plan is made from.
    pub(super) fn view<'a>(&'a self, node: &'a ApiNode) -> NodeView<'a> {
        NodeView {
            desired: &self.desired,
            snapshot: &self.snapshot,
            memory: &self.memory,
            decisions: &self.decisions,
            node,
            shutting_down: self.shutting_down,
            measured: &self.measured,
            pods_use: &self.pods_use,
            limits: &self.rooms.limits,
            provided: self.provided.as_deref(),
            policy: &self.rooms.policy,
        }
    }

    /// Plans the node where it is marked. Answers whether the memory changed.
    pub(super) fn plan_node(&mut self, now: Timestamp, stopping: &CancellationToken) -> bool {
        if !self.dirty.remove(&Key::Node) {
            return false;
        }
        self.deadlines.remove(&Key::Node);
        let has_resumed = self.resume();
        let api_node = self.node.borrow().clone();
        let mut plan = node::plan(self.view(&api_node), now);
        if let Some(at) = plan.wake_at {
            self.deadlines.insert(Key::Node, at);
        }
        self.carry_out_images(&mut plan, now, stopping);
        self.cgroups.send_if_modified(|before| {
            let changed = *before != plan.cgroups;
            *before = plan.cgroups;
            changed
        });
        let is_shutdown_due = self.carry_out_shutdown(plan.shutdown, now);
        let has_evicted = self.carry_out_evictions(plan.evictions, now);
        let has_changed = has_resumed || is_shutdown_due || has_evicted;
        let Some(verdicts) = plan.verdicts else {
            return has_changed;
        };
        let has_preempted = self.carry_out_preemptions(&verdicts, now);
        let applied = node::apply(verdicts.new, &mut self.decisions, &mut self.memory, now);
        for (pod, refusal) in &applied.rejected {
            self.note_rejected(&pod.name, &refusal.reason, &refusal.message);
        }
        let has_changed = has_changed || !applied.dirty.is_empty();
        self.dirty.extend(applied.dirty.into_iter().map(Key::Pod));
        has_changed || has_preempted
    }

    /// The node's labels, for a pod with volumes that are bound to nodes.
    pub(super) fn marks_for(&self, pod: &Pod) -> Option<NodeMarks> {
        let is_claim = |volume: &Volume| matches!(volume.source, VolumeSource::Claim { .. });
        match &*self.node.borrow() {
            ApiNode::Present(node) if pod.volumes.iter().any(is_claim) => Some(NodeMarks::of(node)),
            _ => None,
        }
    }

    /// Counts and logs that a pod was rejected.
    pub(super) fn note_rejected(&self, pod: &PodName, reason: &str, message: &str) {
        self.rooms.counters.pods.rejected(reason);
        tracing::warn!(%pod, reason, "pod rejected: {message}");
    }

    /// Has an allocation kept and nothing else done where it changes, or notes why the pod does not get what it asks for.
    pub(super) fn resize(
        &mut self,
        pod: &Arc<Pod>,
        seen: Option<&ObservedPod>,
        memory: &mut PodMemory,
        plan: &mut Plan,
        now: Timestamp,
    ) {
        let api_node = self.node.borrow().clone();
        match node::resize(self.view(&api_node), pod, seen, memory, now) {
            ResizeVerdict::Granted => memory.resize = None,
            ResizeVerdict::Waits => {}
            ResizeVerdict::Begins(keep) => *plan = only(keep),
            ResizeVerdict::Allotted(keep) => {
                memory.resize = None;
                *plan = only(keep);
                self.decisions.allotting.insert(pod.name.clone(), pod.clone());
            }
            ResizeVerdict::Pending(pending, retry) => {
                // Others may have to end for it.
                if memory.resize.as_ref() != Some(&pending) {
                    self.deadlines.insert(Key::Node, now);
                }
                memory.resize = Some(pending);
                plan.wake_at = plan.wake_at.into_iter().chain(retry).min();
            }
        }
    }

    /// The snapshot shows the saved decision, or saving it failed.
    pub(super) fn allocation_is_saved(&mut self, key: &Key) {
        let Key::Pod(name) = key else { return };
        if self.decisions.allotting.remove(name).is_some() {
            self.dirty.insert(Key::Node);
        }
    }

    /// Marks the pods whose resize was deferred for lack of room.
    pub(super) fn retry_deferred_resizes(&mut self) {
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
