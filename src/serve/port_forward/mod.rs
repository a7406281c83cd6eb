//! `/portForward`: connections to the ports of a pod, opened in its network namespace by the agent itself.

pub(crate) mod endpoint;
mod dial;
mod pairs;
mod session;
