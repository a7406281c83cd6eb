//! Trees to the types of Kubernetes, strictly: an unknown field and a value of the wrong type are faults.
//!
//! [`deserializer`] reads any type, with [`error`] for what is said of a wrong value and [`suggestion`] for a name that
//! was misspelt; [`object`] reads ConfigMaps and Secrets by hand, so that no message repeats what is in them.

mod error;
mod suggestion;
mod deserializer;
pub(super) mod object;

pub(super) use deserializer::decode;
