//! How the runtime is observed: what the kubelet calls its pod lifecycle event generator (`pkg/kubelet/pleg`).

use std::time::Duration;

use jiff::Timestamp;

use super::buckets;
use super::family::{Counter, Distribution, Family, Gauge, Head};

/// Lists of the runtime's pods, and the stream of its events.
#[derive(Debug)]
pub struct Listing {
    relist_seconds: Distribution<0>,
    relist_interval: Distribution<0>,
    pod_seconds: Distribution<0>,
    last_seen: Gauge<0>,
    connections: Counter<0>,
    connection_errors: Counter<0>,
    event_latency: Distribution<0>,
}

impl Default for Listing {
    fn default() -> Self {
        let labels = [];
        let distribution = |name, help| Distribution::new(Head { name, help, labels }, buckets::DEFAULT);
        let counter = |name, help| Counter::new(Head { name, help, labels });
        Listing {
            relist_seconds: distribution(
                "kubelet_pleg_relist_duration_seconds",
                "How long it took in seconds to list all pods of the runtime.",
            ),
            relist_interval: distribution(
                "kubelet_pleg_relist_interval_seconds",
                "How many seconds passed between two lists of all pods of the runtime.",
            ),
            pod_seconds: distribution(
                "kubelet_pleg_pod_relist_duration_seconds",
                "How long it took in seconds to read a single pod from the runtime.",
            ),
            last_seen: Gauge::new(Head {
                name: "kubelet_pleg_last_seen_seconds",
                help: "When the pods of the runtime were last read, in seconds since 1970.",
                labels,
            }),
            connections: counter(
                "kubelet_evented_pleg_connection_success_count",
                "How often the stream of the runtime's events was opened.",
            ),
            connection_errors: counter(
                "kubelet_evented_pleg_connection_error_count",
                "How often the stream of the runtime's events could not be opened.",
            ),
            event_latency: distribution(
                "kubelet_evented_pleg_connection_latency_seconds",
                "How many seconds after it happened an event of the runtime arrived.",
            ),
        }
    }
}

impl Listing {
    /// Everything was listed. `since` is the time since the last time, unless this is the first.
    pub fn listed(&self, took: Duration, since: Option<Duration>, at: Timestamp) {
        self.relist_seconds.observe([], took.as_secs_f64());
        if let Some(since) = since {
            self.relist_interval.observe([], since.as_secs_f64());
        }
        self.seen(at);
    }

    /// Some pods were read: so many, in this time together.
    pub fn read(&self, took: Duration, pods: u32, at: Timestamp) {
        if pods > 0 {
            self.pod_seconds.observe([], took.as_secs_f64() / f64::from(pods));
        }
        self.seen(at);
    }

    fn seen(&self, at: Timestamp) {
        self.last_seen.set([], at.as_second() as f64);
    }

    /// The stream of events was opened, or could not be.
    pub fn connected(&self, succeeded: bool) {
        match succeeded {
            true => self.connections.count([]),
            false => self.connection_errors.count([]),
        }
    }

    /// An event arrived so long after it happened.
    pub fn event(&self, latency: Duration) {
        self.event_latency.observe([], latency.as_secs_f64());
    }

    pub(super) fn families(&self) -> Vec<&dyn Family> {
        vec![
            &self.relist_seconds,
            &self.relist_interval,
            &self.pod_seconds,
            &self.last_seen,
            &self.connections,
            &self.connection_errors,
            &self.event_latency,
        ]
    }
}
