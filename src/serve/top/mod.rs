//! `/top` of the agent's socket: what the node, its pods and their containers have used so far, at one moment. `gantry
//! top` asks twice and shows the difference.
//!
//! - `endpoint`: takes a sample that is at most half a second old.
//! - `convert` (pure): the sample as counters.
//! - `wire`: the counters as the client reads them.

mod convert;
mod endpoint;
pub mod wire;

pub(super) use endpoint::answer;
