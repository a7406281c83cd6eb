//! `/portForward`: connections to the ports of a pod, opened in its network namespace by the agent itself.
//!
//! [`endpoint`] answers. [`session`] has the connections of a client that speaks SPDY, whose streams [`pairs`] pairs;
//! [`channels`] those over a WebSocket, to [`ports`]. [`relay`] carries one of either, between what [`dial`] opens and
//! the [`client_end`].

pub(crate) mod endpoint;
mod channels;
mod client_end;
mod dial;
mod pairs;
mod ports;
mod relay;
mod session;
