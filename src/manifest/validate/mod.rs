//! Whether a pod may run here: what the API server checks, and what this version does not do.
//!
//! [`pod`] checks a whole pod and calls one file for each of its parts; [`border`] checks what an API server sends, and
//! [`unsupported`] refuses what Kubernetes knows and this node does not do.

pub(super) mod resources;
mod restart;
mod probe;
mod projected;
pub(super) mod security;
pub(super) mod sysctl;
mod container;
pub(super) mod metadata;
mod placement;
mod network_disk;
mod volume;
mod pod;
pub(super) mod border;
pub(super) mod unsupported;

pub(super) use container::container;
pub(super) use pod::pod;
