//! Who the node is to its API server: the credentials that it speaks with.

pub mod client;
pub mod cluster;
