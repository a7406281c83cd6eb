//! The steps of plans, under names of gantry's own.

use std::time::Duration;

use super::buckets;
use super::family::{Counter, Distribution, Family, Head};
use crate::model::step::StepKind;

/// Steps of plans.
#[derive(Debug)]
pub struct Steps {
    seconds: Distribution<1>,
    errors: Counter<1>,
}

impl Default for Steps {
    fn default() -> Self {
        Steps {
            seconds: Distribution::new(
                Head {
                    name: "gantry_step_duration_seconds",
                    help: "Duration in seconds of pod steps, by verb.",
                    labels: ["verb"],
                },
                buckets::STEP,
            ),
            errors: Counter::new(Head {
                name: "gantry_step_errors_total",
                help: "Number of failed pod steps, by verb.",
                labels: ["verb"],
            }),
        }
    }
}

impl Steps {
    /// A step has ended.
    pub fn ended(&self, kind: StepKind, took: Duration, failed: bool) {
        self.seconds.observe([kind.as_str().into()], took.as_secs_f64());
        self.errors.add([kind.as_str().into()], u64::from(failed));
    }

    pub(super) fn families(&self) -> Vec<&dyn Family> {
        vec![&self.seconds, &self.errors]
    }
}
