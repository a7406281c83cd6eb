//! The pod network between nodes: what flannel's daemon does, without it.
//!
//! [`plan`] decides (pure): [`wanted`] says which way leads to each peer, and what [`kernel`] has heard of the kernel is
//! compared with it; [`change`] says what some peers that change ask for; [`wire`] lists, listens and
//! carries the operations out over rtnetlink; [`run`] is the loop that joins them. [`endpoint`] keeps the address by which
//! others know this node's tunnel endpoint. [`peers_file`] follows a file of peers: [`entry`] is one of them, and [`known`] what
//! need not be parsed again.

mod own;
mod operation;
mod problem;
mod kernel;
mod wanted;
mod plan;
mod change;
mod wire;
mod endpoint;
mod run;
pub(super) mod entry;
mod known;
pub mod peers_file;
mod remove;

pub use endpoint::is_stored;
pub use remove::remove;
pub use run::{Inputs, Settings, Standing, pod_mtu, run};
