//! What the agent does with files of its own and with directories that others write to: opening beneath a directory,
//! writing a file as a whole, removing a tree. It knows neither pods nor any format.
//!
//! The differences between callers are options here, each with its reason.

pub mod beneath;
pub mod group;
pub mod json;
pub mod loop_device;
pub mod mount_points;
pub mod project;
pub mod tree;
pub mod usage;
mod walk;
pub mod write;

#[cfg(test)]
pub(crate) mod tests;
