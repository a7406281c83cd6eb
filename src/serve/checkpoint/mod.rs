//! `/checkpoint/`: writes the state of a running container to an archive on the node (KEP 2008).
//!
//! [`endpoint`] answers, [`bounds`] decides whether there is room, and [`store`] is the directory. An archive contains a
//! container's memory, so that requests could fill the disk (CVE-2025-0426); nothing removes archives but people.

mod bounds;
mod endpoint;
mod store;

pub(crate) use endpoint::answer;
pub use store::Checkpoints;
