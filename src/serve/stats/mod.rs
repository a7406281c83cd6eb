//! `/stats/summary`: what the node and its pods use. [`endpoint`] answers, `summary` and `convert` make the answer of a
//! sample, and `wire` is its form.

mod convert;
mod endpoint;
mod summary;
mod wire;

pub(super) use endpoint::answer;
