//! The shutdown of the machine, carried out: pods that are due are marked to be planned, work on them that would take too
//! long is interrupted, and how far it has come is published and logged.

use jiff::Timestamp;

use super::{Key, Loop};
use crate::model::end::End;
use crate::plan::node::{self, ShutdownPlan};

impl Loop {
    /// Marks the node when the machine begins to shut down, or does not shut down any more.
    pub(super) fn take_shutdown(&mut self, new: Option<Timestamp>) {
        if std::mem::replace(&mut self.shutting_down, new) != new {
            self.dirty.insert(Key::Node);
        }
    }

    /// Lets static pods run again when the machine is not shutting down any more. Answers whether the memory changed.
    pub(super) fn resume(&mut self) -> bool {
        if self.shutting_down.is_some() || self.decisions.shutdown.take().is_none() {
            return false;
        }
        self.progress.send_replace(None);
        let names = node::resume(&self.desired, &mut self.memory);
        tracing::info!(
            static_pods = names.len(),
            "pods are started again; what ended of the API server's pods stays ended"
        );
        let has_changed = !names.is_empty();
        self.dirty.extend(names.into_iter().map(Key::Pod));
        has_changed
    }

    /// Ends the pods that are due. Answers whether the memory changed.
    pub(super) fn carry_out_shutdown(&mut self, plan: Option<ShutdownPlan>, now: Timestamp) -> bool {
        let Some(plan) = plan else { return false };
        for (pod, by) in &plan.due {
            node::end(
                pod,
                End::Shutdown,
                Some(*by),
                &self.snapshot,
                &mut self.memory,
                now,
            );
            self.hurry(pod, *by);
        }
        self.decisions.shutdown = Some(plan.shutdown);
        let progress = plan.progress;
        let is_news = self.progress.send_if_modified(|before| {
            let is_news = *before != Some(progress);
            *before = Some(progress);
            is_news
        });
        if is_news {
            tracing::info!("{}", progress.at(now));
        }
        !plan.due.is_empty()
    }
}
