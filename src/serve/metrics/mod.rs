//! `/metrics`: what the agent counts of itself.
//!
//! [`endpoint`] answers, [`counters`] counts, [`exposition`] writes Prometheus' text, and [`process`] asks the kernel about the
//! agent's own process.

mod exposition;
mod process;
mod counters;
mod endpoint;

pub use counters::Metrics;
pub(super) use endpoint::answer;
