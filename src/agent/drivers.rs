//! Wires the registration of storage drivers.

use std::sync::Arc;

use tokio::sync::watch;

use super::tasks::Tasks;
use super::values::Values;
use crate::config::Config;
use crate::counters::Counters;
use crate::drivers;
use crate::model::driver::Publications;

/// Spawns the loop. `published` says what the API server has of the drivers, on a node of a cluster.
pub(super) fn spawn(
    tasks: &mut Tasks,
    config: &Config,
    values: &Values,
    counters: &Arc<Counters>,
    published: Option<watch::Receiver<Publications>>,
) {
    let settings = drivers::Settings {
        root: config.paths.root.clone(),
        published,
        counters: counters.clone(),
    };
    let (out, cancel) = (values.drivers.0.clone(), tasks.cancel.clone());
    tasks.spawn("storage drivers", drivers::run(settings, out, cancel));
}
