//! The streams of a command in a container, and of forwarded ports, over one upgraded connection: SPDY/3.1 and
//! WebSocket, as kubectl and the API server speak them to a kubelet.
//!
//! [`endpoint`] reads a request and upgrades its connection ([`upgrade`]). Then [`client`] is the client of a command,
//! whatever it speaks: [`spdy_command`] over [`spdy`], or [`websocket`]; [`command`] has the messages, [`status`] and
//! [`terminal_size`] their content. [`lifetime`] bounds how long a stream may last; [`heartbeat`] shows that a client is
//! gone although its input is not taken.

pub(crate) mod client;
pub mod command;
pub(crate) mod endpoint;
pub(crate) mod heartbeat;
pub(crate) mod lifetime;
pub mod spdy;
pub(crate) mod spdy_command;
pub(crate) mod status;
pub(crate) mod terminal_size;
pub(crate) mod upgrade;
pub mod websocket;
