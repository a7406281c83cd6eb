//! The only writers to the API server: pod statuses, mirror pods, the Node, its Lease, the CSINode, Events.
//!
//! This module makes no decisions about pods and does not change them. A failed write is retried: each task compares
//! the state to publish with the one that the API server has.

mod urgency;
mod merge;
pub mod pods;
mod pod_starts;
pub mod mirror;
pub mod node;
pub mod claims;
pub mod csi_node;
mod node_events;
pub mod lease;
pub mod events;
mod correlate;
mod retry;

pub use retry::ApiFailure;
