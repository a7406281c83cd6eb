//! Sends what happened to pods to an OpenTelemetry collector (`tracing` of KubeletConfiguration): the spans that
//! `gantry timeline` shows. The kubelet sends other spans under the same configuration; the resource and the pod's
//! attributes have the same names.
//!
//! - `assemble` (pure): which traces are complete.
//! - `message` (pure): their form on the wire.
//! - `send`: the collector.

mod assemble;
mod message;
mod send;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::collector::Collector;
use crate::model::last_logged::LastLogged;
use crate::model::report::PodsReport;
use assemble::Assembler;
pub use message::Source;
use send::Sender;

/// How long the end of what is going on is waited for before it is looked at: the spans of one start come within
/// milliseconds of each other.
const GATHERING: Duration = Duration::from_secs(1);

/// Sends traces until canceled. What cannot be sent is given up: a collector that is away costs its traces only.
pub async fn run(
    collector: Collector,
    source: Source,
    mut reports: watch::Receiver<Arc<PodsReport>>,
    cancel: CancellationToken,
) {
    let sender = Sender::new(&collector.address);
    let (mut assembler, mut last) = (Assembler::default(), LastLogged::default());
    let work = async {
        loop {
            let timelines = reports.borrow_and_update().timelines.clone();
            let assembled = assembler.assemble(&timelines, Timestamp::now());
            let sampled = assembled.traces.into_iter();
            let sampled: Vec<_> = sampled.filter(|trace| collector.rate.takes(trace.id.0)).collect();
            if !sampled.is_empty() {
                match sender.send(message::request(&source, &sampled)).await {
                    Ok(()) => last.clear(),
                    Err(error) if last.is_news(&error) => {
                        tracing::warn!(%error, collector = %collector.address, "cannot send traces; they are dropped");
                    }
                    Err(_) => {}
                }
            }
            let due = async {
                match assembled.wake_in {
                    Some(wake_in) => tokio::time::sleep(wake_in).await,
                    None => std::future::pending().await,
                }
            };
            // Both may be dropped: a change stays marked as one.
            tokio::select! {
                changed = reports.changed() => if changed.is_err() { return },
                () = due => {}
            }
            tokio::time::sleep(GATHERING).await;
        }
    };
    // What is being sent is given up.
    tokio::select! {
        () = work => {}
        () = cancel.cancelled() => {}
    }
}
