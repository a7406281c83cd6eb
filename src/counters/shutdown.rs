//! The last shutdown of the machine for which the node ended its pods.

use jiff::Timestamp;

use super::family::{Family, Gauge, Head};

/// When it began and ended.
#[derive(Debug)]
pub struct Shutdowns {
    began: Gauge<0>,
    ended: Gauge<0>,
}

impl Default for Shutdowns {
    fn default() -> Self {
        let shutdowns = Shutdowns {
            began: Gauge::new(Head {
                name: "kubelet_graceful_shutdown_start_time_seconds",
                help: "When the last graceful shutdown of the node began, in seconds since 1970; 0: there was none.",
                labels: [],
            }),
            ended: Gauge::new(Head {
                name: "kubelet_graceful_shutdown_end_time_seconds",
                help: "When the last graceful shutdown of the node ended, in seconds since 1970; 0: there was none, or \
                       it has not ended.",
                labels: [],
            }),
        };
        // As in the kubelet, they are there before the first shutdown.
        shutdowns.is(None, None);
        shutdowns
    }
}

impl Shutdowns {
    /// The last one began and ended then.
    pub fn is(&self, began: Option<Timestamp>, ended: Option<Timestamp>) {
        // As in the kubelet, whole seconds.
        let seconds = |time: Option<Timestamp>| time.map_or(0.0, |time| time.as_second() as f64);
        self.began.set([], seconds(began));
        self.ended.set([], seconds(ended));
    }

    pub(super) fn families(&self) -> Vec<&dyn Family> {
        vec![&self.began, &self.ended]
    }
}
