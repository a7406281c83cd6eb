//! `/images` of the agent's socket: which images the runtime has, and pulls, imports and removals that people ask for.
//!
//! - `list`: the images, with the pods that use them.
//! - `prune`: the removal of unused images.
//! - `work`: a pull or an import, whose answer is a stream of lines.
//! - `upload`: the archive that a client sends.
//! - `lines`: the stream.
//! - `wire`: what clients read.

mod lines;
mod list;
mod prune;
mod upload;
pub mod wire;
mod work;

pub(super) use list::list;
pub(super) use prune::prune;
pub(super) use work::{import, pull};
