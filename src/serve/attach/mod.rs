//! `/attach`: the streams of a container's own process. The runtime holds them, so it is asked for them, and its streams
//! are passed on.

mod ended;
pub(crate) mod endpoint;
mod session;
mod upstream;
