//! Has work tried again before its back-off is over, because what it failed for may be there now.

use std::sync::Arc;

use super::{Key, Loop};
use crate::model::memory::FailedWork;
use crate::model::step::StepKind;
use crate::plan::restart;

impl Loop {
    /// Clears pull failures: the missing image may exist now.
    pub(super) fn images_arrived(&mut self) {
        for (name, memory) in &mut self.memory.pods {
            if memory
                .containers
                .values()
                .any(|container| container.pull.is_some())
            {
                *memory = Arc::new(restart::retry_pulls(memory));
                self.dirty.insert(Key::Pod(name.clone()));
            }
        }
    }

    /// Has volumes tried again that could not be made: they may have waited for another pod.
    pub(super) fn volumes_left(&mut self) {
        let is_volume = |work: &FailedWork| matches!(work, FailedWork::Volume(_));
        for (name, memory) in &mut self.memory.pods {
            if memory.failures.keys().any(is_volume) {
                *memory = Arc::new(restart::retry_after_change(memory));
                self.dirty.insert(Key::Pod(name.clone()));
            }
        }
    }

    /// Has pods removed whose volumes could not be taken down: that may have been for want of a driver.
    pub(super) fn drivers_changed(&mut self) {
        let removal = FailedWork::Step(StepKind::RemovePodDir);
        for (name, memory) in &mut self.memory.pods {
            if memory.failures.contains_key(&removal) {
                Arc::make_mut(memory).failures.remove(&removal);
                self.dirty.insert(Key::Pod(name.clone()));
            }
        }
        self.mark_leftovers();
    }
}
