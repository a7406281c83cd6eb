//! `/exec`: a command in a container, with its input and output.
//!
//! [`endpoint`] answers, [`session`] carries the streams; [`process`] derives the process from the container's own, and
//! [`task`] runs it by containerd's task API, with [`pipes`] and over [`restarts`] of containerd.

pub(crate) mod endpoint;
pub(super) mod pipes;
pub(crate) mod process;
mod restarts;
pub(crate) mod session;
pub(super) mod task;
