//! `/flagz` and `/statusz`: the command line and the state of the program, as every Kubernetes component has them
//! (`staging/src/k8s.io/apiserver/pkg/server/{flagz,statusz}`).
//!
//! [`negotiation`] chooses the form of the answer, [`answer`] writes it; [`flagz`] and [`statusz`] have the content, of
//! [`program`].

mod answer;
pub(crate) mod flagz;
mod metadata;
mod negotiation;
mod program;
pub(crate) mod statusz;

pub use program::Program;
