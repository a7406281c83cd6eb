//! Asks what runs in a container, once and with a deadline: over HTTP, HTTPS, TCP and gRPC, by sockets of its own.
//! Says what came of it in the words of the kubelet's Go libraries, which people search for. Knows no pod, decides
//! nothing, and repeats nothing.

mod connect;
pub mod grpc;
pub mod http;
mod names;
mod tls;

pub use connect::tcp;
pub use names::{Asker, Names};
