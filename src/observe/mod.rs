//! Observes the container runtime: reads lists, listens to events, and publishes what is so as one value.
//! The only writer of the [`Snapshot`]. Changes nothing in the world and decides nothing.

pub mod address;
mod due;
mod log_numbers;
pub mod machine;
pub mod measure;
mod observer;
mod out_of_memory;
mod pod_files;
mod probe;
pub mod probes;
mod request;
pub mod resolv_conf;
mod settings;
mod snapshot;
mod termination;
mod world;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::cri::{Runtime, events};
use crate::model::runtime::Snapshot;

use observer::Observer;
pub use out_of_memory::Kills;
pub use request::{Handle, Inbox, Stopped, requests};
pub use settings::Settings;

/// How many events may wait while lists are read; more wait in the connection.
const EVENTS_WAITING: usize = 1024;

/// Observes until cancelled.
pub async fn run(
    runtime: Runtime,
    inbox: Inbox,
    out: watch::Sender<Arc<Snapshot>>,
    settings: Settings,
    cancel: CancellationToken,
) {
    let (events_in, events) = mpsc::channel(EVENTS_WAITING);
    let observer = Observer::new(runtime.clone(), out, settings);
    // Whatever is dropped was only reading; the two loops end by themselves with each other only.
    tokio::select! {
        () = cancel.cancelled() => {}
        () = events::subscribe(&runtime, events_in) => {}
        () = observer.run(events, inbox.requests, inbox.news) => {}
    }
}
