//! Talking to the kernel: links, addresses, routes, queues and, for netfilter, the bare socket.
//!
//! This module makes no decisions; it turns operations into messages and answers into values.

pub mod message;
pub mod netconf;
pub mod socket;

pub mod addr;
pub mod bridge;
pub mod conntrack;
pub mod link;
pub mod neigh;
pub mod route;
pub mod traffic;
