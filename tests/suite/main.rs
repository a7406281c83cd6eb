//! Stories of the whole agent and of its rooms, hermetic: against a fake runtime on a socket of its own.
//! Neither root nor containerd is needed.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in test functions; their helpers are tests too

mod act;
mod agent;
mod authority;
mod check;
mod cve;
mod events;
mod fake_api;
mod fake_cri;
mod fake_logind;
mod messages;
mod node_port;
mod observe;
mod pods;
mod probed;
mod reference;
#[path = "../support/reviewer.rs"]
mod reviewer;
mod served;
mod stories;
mod tidy;
