//! The pods' network on this node: its subnet, the CNI configuration, forwarding, and the guard of the host's loopback.
//!
//! A loop of its own ([`run`]): what must stand before the first pod starts is done by [`begin`], the rest for as long as
//! the agent runs. Pods are attached by the CNI plugins, which the runtime calls. Another network's configuration is
//! respected: then this room changes nothing on the machine.
//!
//! [`overlay`] connects the pods of several nodes, and [`between`] is what a node needs besides it.
//! [`subnet`] chooses (pure), [`conflist`] is the CNI configuration, [`routes`] reads the host's routes, [`forwarding`]
//! and [`loopback`] are settings and rules of the kernel, [`bridge`] is kept as pods need it, and [`set_up`] puts them together.

pub mod conflist;
mod between;
mod bridge;
mod forwarding;
mod loopback;
pub mod overlay;
mod published;
mod routes;
mod run;
mod set_up;
pub mod subnet;

pub use between::{Between, ENTRY, ENVIRONMENT, Nodes, leave};
pub use run::{Connects, Inputs, Loop, begin};
pub use set_up::{DATA_DIR, NetworkError, NetworkSettings, tear_down};
