//! The UID of a static pod, which is the kubelet's: a hash of the object as Go prints it.
//!
//! [`go_defaults`] adds what the kubelet's decoder adds, [`go_print`] prints as Go does, and [`fingerprint`] hashes.

mod go_defaults;
mod go_print;
pub(super) mod fingerprint;
