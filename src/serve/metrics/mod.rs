//! `/metrics` and its kin.
//!
//! [`endpoint`] answers; [`agent`] is the page about the agent itself, `probes` the one about the probes of containers,
//! `resource` and `cadvisor` are those about pods and containers, and [`exposition`] writes what Prometheus reads.

mod agent;
mod cadvisor;
mod endpoint;
mod exposition;
mod probes;
mod resource;

pub(super) use endpoint::{answer, answer_cadvisor, answer_probes, answer_resource};
pub(super) use exposition::Format;

#[cfg(test)]
mod monitoring;
