//! The CNI plugins of gantry: `loopback`, `bridge`, `host-local` and `portmap`, for the protocol versions 0.3.0 to
//! 1.1.0. One binary is all of them, under the name it is called by.
//!
//! A run goes one way: [`skel`] turns environment and stdin into a [`request::Request`]; the plugin's `conf` reads its
//! keys, `plan` (or `rules`, or `allocate`) decides everything without touching anything, `apply` does it in order
//! and takes it back on failure; [`types`] writes the answer.
//!
//! What is not here: no thread outlives a call, no program is started (but an IPAM plugin that is not
//! `host-local`), no state is kept outside of the kernel and the directory of `host-local`, and nothing prints but
//! `main`.

pub mod types;
pub mod skel;
pub mod keys;
pub mod request;
pub mod loopback;
pub mod bridge;
pub mod host_local;
pub mod portmap;
pub mod forwarding;
pub mod loopback_guard;
pub mod cleanup;
pub mod ipam;
pub mod netlink;
pub mod netns;
pub mod nftables;
pub mod sysctl;
mod text;

pub use cleanup::cleanup;
