//! SPDY/3.1, as far as Kubernetes uses it: many streams of bytes over one connection, each opened with headers.
//!
//! [`frame`] and [`headers`] read and write bytes; [`connection`] is the connection. Peers are moby/spdystream in
//! kubectl, in the API server and in containerd: it neither sends nor obeys the protocol's windows, so that TCP's own
//! flow control is the only one.

mod connection;
mod dictionary;
mod frame;
mod headers;

pub use connection::{Event, Receiver, Role, Sender, SpdyError, open};
pub use frame::StreamId;
pub use headers::Headers;
