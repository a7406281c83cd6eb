//! Observes the container runtime: reads lists, receives events, and publishes the observed state as one value. The
//! only writer of the [`Snapshot`]. Changes nothing on the machine and decides nothing.

pub mod address;
mod address_changes;
mod due;
pub mod kernel_log;
mod log_numbers;
pub mod machine;
pub mod measure;
pub mod node_addresses;
mod observer;
mod out_of_memory;
mod pod_files;
mod probe;
pub mod probes;
mod request;
pub mod resolv_conf;
mod settings;
mod snapshot;
mod system_kills;
mod termination;
mod world;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::cri::{Runtime, events};
use crate::model::runtime::Snapshot;

use observer::Observer;
pub use request::{Handle, Inbox, Stopped, requests};
pub use settings::Settings;

/// How many events may wait while lists are read; more wait in the connection.
const EVENTS_WAITING: usize = 1024;

/// Observes until canceled.
pub async fn run(
    runtime: Runtime,
    inbox: Inbox,
    out: watch::Sender<Arc<Snapshot>>,
    settings: Settings,
    cancel: CancellationToken,
) {
    let (events_in, events) = mpsc::channel(EVENTS_WAITING);
    let observer = Observer::new(runtime.clone(), out, settings);
    // Everything dropped here only reads; the two loops end only together.
    tokio::select! {
        () = cancel.cancelled() => {}
        () = events::subscribe(&runtime, events_in) => {}
        () = observer.run(events, inbox) => {}
    }
}
