//! The CNI plugins of gantry: `loopback`, `bridge`, `host-local`, `portmap`, `flannel`, `bandwidth` and `firewall`, for
//! the protocol versions 0.3.0 to 1.1.0. One binary contains all of them, and the name it is called by selects one.
//!
//! A call goes through these stages: [`skel`] turns environment and stdin into a [`request::Request`]; the plugin's
//! `conf` reads its keys, `plan` (or `rules`, or `allocate`) decides everything without side effects, `apply` executes
//! it in order and reverts it on failure; [`types`] writes the result.
//!
//! By design, no thread outlives a call, no program is started (except an IPAM plugin other than `host-local`, and a
//! delegate of `flannel` other than `bridge`), no state is stored outside the kernel and the directories of `host-local`
//! and `flannel`, and only `main` prints.

pub mod types;
pub mod skel;
pub mod keys;
pub mod request;
pub mod loopback;
pub mod bridge;
pub mod host_local;
pub mod portmap;
pub mod flannel;
pub mod bandwidth;
pub mod firewall;
pub mod forwarding;
pub mod between_nodes;
pub mod loopback_guard;
pub mod cleanup;
pub mod restore;
pub mod delegate;
pub mod ipam;
pub mod netlink;
pub mod netns;
pub mod nftables;
pub mod owners;
pub mod sysctl;
mod text;

pub use cleanup::cleanup;
pub use restore::restore;
