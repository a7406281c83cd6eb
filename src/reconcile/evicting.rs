//! Evictions, carried out: pods that have to go are marked to be planned, work on them that would take too long is
//! interrupted, and what has to be measured next is published.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Key, Loop};
use crate::model::measured::Measured;
use crate::model::pod::Pod;
use crate::model::pods_use::PodsUse;
use crate::plan::node::{self, Evicted, EvictionPlan};

impl Loop {
    /// Marks the node when something was measured.
    pub(super) fn take_measured(&mut self, machine: Arc<Measured>, pods: Arc<PodsUse>) {
        if Arc::ptr_eq(&self.measured, &machine) && Arc::ptr_eq(&self.pods_use, &pods) {
            return;
        }
        (self.measured, self.pods_use) = (machine, pods);
        self.dirty.insert(Key::Node);
    }

    /// Evicts the pods that have to go. Answers whether the memory changed.
    pub(super) fn carry_out_evictions(&mut self, plan: EvictionPlan, now: Timestamp) -> bool {
        self.decisions.evictions = plan.evictions;
        self.wanted.send_if_modified(|before| {
            let has_changed = *before != plan.wanted;
            *before = plan.wanted;
            has_changed
        });
        if let Some(since) = plan.reclaim {
            self.decisions.reclaim_wanted = Some(since);
            self.dirty.insert(Key::Node);
        }
        for Evicted { pod, end, by, signal } in &plan.due {
            node::end(pod, end.clone(), Some(*by), &self.snapshot, &mut self.memory, now);
            self.hurry(pod, *by);
            self.rooms.counters.pods.evicted(signal);
            tracing::warn!(pod = %pod.name, signal, "pod evicted: {}", end.message());
        }
        let has_changed = self.memory.pressure != plan.pressure;
        if self.memory.pressure.short_of != plan.pressure.short_of {
            let conditions = plan.pressure.short_of.iter().map(|shortage| shortage.condition());
            let conditions: Vec<_> = conditions.collect();
            tracing::info!(?conditions, "the pressure on the node changed");
        }
        self.memory.pressure = plan.pressure;
        has_changed || !plan.due.is_empty()
    }

    /// Has a pod planned that has to have ended by then, whatever is being done with it.
    pub(super) fn hurry(&mut self, pod: &Pod, by: Timestamp) {
        let key = Key::Pod(pod.name.clone());
        let outlasts = |work: &&super::Work| work.uid == pod.uid && work.ends.is_none_or(|ends| ends > by);
        if let Some(work) = self.busy.get(&key).filter(outlasts) {
            work.cancel.cancel();
        }
        self.dirty.insert(key);
    }
}
