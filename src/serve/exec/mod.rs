//! `/exec`: a command in a container, with its input and output.
//!
//! [`endpoint`] answers and carries the streams in [`frame`]s; [`process`] derives the process from the container's own,
//! and [`task`] runs it by containerd's task API.

pub mod frame;
mod process;
pub(super) mod task;
pub(super) mod endpoint;

pub(super) use endpoint::answer;
