//! Trees to the types of Kubernetes, strictly: what nobody knows and what has the wrong type is a fault.
//!
//! [`deserializer`] reads any type, with [`error`] for what is said of a wrong value and [`suggestion`] for a name that
//! was misspelt; [`object`] reads ConfigMaps and Secrets by hand, so that no message repeats what is in them.

mod error;
mod suggestion;
mod deserializer;
pub(super) mod object;

pub(super) use deserializer::decode;
