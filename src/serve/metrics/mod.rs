//! `/metrics` and its kin.
//!
//! [`endpoint`] answers, [`counters`] counts what the agent does, [`process`] asks the kernel about the agent's own process,
//! `resource` and `cadvisor` are the pages about pods and containers, and [`exposition`] writes what Prometheus reads.

mod cadvisor;
mod counters;
mod endpoint;
mod exposition;
mod process;
mod resource;

pub use counters::Metrics;
pub(super) use endpoint::{answer, answer_cadvisor, answer_resource};
