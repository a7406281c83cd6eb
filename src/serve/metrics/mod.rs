//! `/metrics`: what the agent counts of itself.
//!
//! [`counters`] counts and answers, [`exposition`] writes Prometheus' text, and [`process`] asks the kernel about the
//! agent's own process.

mod exposition;
mod process;
mod counters;

pub use counters::Metrics;
pub(super) use counters::answer;
