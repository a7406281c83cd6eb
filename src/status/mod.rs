//! Computes the status of pods and node. Pure.

mod condition;
pub mod disruption;
mod waiting;
mod image_volume;
mod container;
mod context;
mod state;
pub mod end_events;
pub mod events;
mod resize;
mod restart_all;
mod format;
mod phase;
mod termination;
pub mod object;
pub mod pod;
pub mod node;
pub mod node_events;
#[cfg(test)]
mod tests;
