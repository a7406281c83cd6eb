//! Tracks which containers of a stage have ended: some are stopped only after others
//! (`kuberuntime_termination_order.go`).

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::model::step::Step;

/// The containers that a stage stops.
#[derive(Debug, Default)]
pub(super) struct Endings(BTreeMap<String, watch::Sender<bool>>);

/// One of them.
#[derive(Debug)]
pub(super) struct Ended(watch::Receiver<bool>);

impl Endings {
    /// None of them has ended.
    pub(super) fn of(stage: &[Step]) -> Endings {
        let stopped = stage.iter().filter_map(|step| match step {
            Step::StopContainer { id, .. } => Some((id.clone(), watch::Sender::new(false))),
            _ => None,
        });
        Endings(stopped.collect())
    }

    /// Marks it as ended.
    pub(super) fn note(&self, id: &str) {
        if let Some(ended) = self.0.get(id) {
            ended.send_replace(true);
        }
    }

    /// The containers with these IDs; one that the stage does not stop has ended before.
    pub(super) fn of_ids(&self, ids: &[String]) -> Vec<Ended> {
        let known = ids.iter().filter_map(|id| self.0.get(id));
        known.map(|ended| Ended(ended.subscribe())).collect()
    }
}

impl Ended {
    /// Completes when the container has ended; dropping it loses nothing.
    pub(super) async fn wait(&mut self) {
        // The stage outlives its steps.
        let _outlived = self.0.wait_for(|ended| *ended).await;
    }
}
