//! The only writers of the API server: statuses of pods, images of static pods, the Node, its Lease, Events.
//!
//! Nothing is decided here about pods, and nothing here moves them. What could not be written is written later: each
//! task compares what it shall tell with what the API server has.

mod urgency;
mod merge;
pub mod pods;
pub mod mirror;
pub mod node;
mod node_news;
pub mod lease;
pub mod events;
mod correlate;
mod retry;

pub use retry::Trouble;
