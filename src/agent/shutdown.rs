//! Wires the loop that delays the machine's shutdown.

use std::path::PathBuf;

use super::wiring::Wiring;
use crate::logind::{self, Channels, Dial, Settings};

impl Wiring {
    /// Takes part in shutdowns of the machine, if pods are to have time then. To be called before the loops are spawned:
    /// no pod starts while a shutdown is under way.
    pub async fn join_shutdowns(&mut self, dial: Dial, drop_ins: PathBuf) {
        let periods = &self.config.shutdown;
        if !periods.are_set() {
            return;
        }
        let settings = Settings {
            dial,
            longest: periods.total(),
            drop_ins,
            root: self.config.paths.root.clone(),
        };
        let channels = Channels {
            shutting_down: self.values.shutting_down.0.clone(),
            progress: self.values.shutdown.1.clone(),
            counters: self.counters.clone(),
        };
        let begun = logind::begin(settings, channels).await;
        self.tasks.spawn("logind", begun.run(self.tasks.cancel.clone()));
    }
}
