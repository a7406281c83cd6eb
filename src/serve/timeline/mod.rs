//! `/timeline/{namespace}/{name}` of the agent's socket: the steps of a pod's last start and end.
//!
//! - `endpoint`: finds the pod.
//! - `convert` (pure): its entries as spans.
//! - `wire`: the spans as the client reads them.

mod convert;
mod endpoint;
pub mod wire;

pub(super) use endpoint::answer;
