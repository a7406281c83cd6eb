//! An object of Kubernetes to the pod as this node understands it.
//!
//! [`pod`] converts a whole pod and calls one file for each of its parts; [`ephemeral`] makes of an ephemeral container
//! one of the pod's own kind.

pub(super) mod ephemeral;
pub(super) mod security;
mod placement;
mod network_disk;
mod volume;
mod resources;
mod container;
mod pod;

pub(crate) use network_disk::{fc, iscsi, secret_name};
pub(crate) use placement::node_terms;
pub(crate) use pod::has_own_users;
pub(super) use pod::pod;
pub(crate) use volume::host_path_kind;
