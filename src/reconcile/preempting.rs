//! Room for critical pods, carried out: pods that have to leave are marked to be planned, and work on them is interrupted.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Key, Loop, Work};
use crate::model::pod::Pod;
use crate::plan::node::{self, Preemption, Verdicts};

impl Loop {
    /// Ends the pods that have to leave for others. Answers whether the memory changed.
    pub(super) fn carry_out_preemptions(&mut self, verdicts: &Verdicts, now: Timestamp) -> bool {
        let mut has_changed = false;
        for (pod, preemption) in verdicts.preemptions() {
            self.preempt(pod, preemption, now);
            has_changed = true;
        }
        if has_changed {
            // Of some nothing may run, and then nothing is seen that ends.
            self.deadlines.insert(Key::Node, now);
            self.retry_deferred_resizes();
        }
        has_changed
    }

    fn preempt(&mut self, pod: &Pod, Preemption { victims, lacking }: &Preemption, now: Timestamp) {
        // A pod may have been evicted since.
        let ends = |victim: &&Arc<Pod>| {
            let memory = self.memory.pods.get(&victim.name);
            memory.is_some_and(|memory| memory.uid == victim.uid && memory.ended.is_some())
        };
        let victims: Vec<_> = victims.iter().filter(|victim| !ends(victim)).cloned().collect();
        node::end_for_critical(&victims, &self.snapshot, &mut self.memory, now);
        for victim in &victims {
            let key = Key::Pod(victim.name.clone());
            let is_other = |work: &&Work| work.uid == victim.uid && work.ends.is_none();
            if let Some(work) = self.busy.get(&key).filter(is_other) {
                work.cancel.cancel();
            }
            self.dirty.insert(key);
            self.rooms.counters.pods.preempted(&lacking.to_string());
            tracing::info!(
                pod = %victim.name, uid = %victim.uid, %lacking, critical_pod = %pod.name,
                "pod is preempted: the critical pod has no room without that"
            );
        }
    }
}
