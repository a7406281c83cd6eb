//! Queries a server in a container once, with a deadline, over HTTP, HTTPS, TCP or gRPC, with sockets of its own.
//! Reports the result in the wording of the kubelet's Go libraries, which people search for. Knows no pods, decides
//! nothing, and does not retry.

mod connect;
pub mod grpc;
pub mod http;
mod names;
pub(crate) mod tls;

pub use connect::tcp;
pub use names::{Asker, Names};
