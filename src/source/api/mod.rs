//! What an API server has for this node: the pods bound to it, what they refer to, the Services, the node itself, and
//! the other nodes of the pod network.
//!
//! Each file is one watch, begun again at the pace of [`pace`].

mod pace;
pub mod pods;
pub mod objects;
pub mod services;
pub mod node;
mod follow;
pub mod peers;
pub mod cluster_network;
pub mod driver_periods;
