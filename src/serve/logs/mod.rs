//! `/logs`: the output of a container, optionally followed while it runs.
//!
//! [`endpoint`] answers; [`file`] opens what rotation left, [`line`] reads one line, and [`read`] goes through them all.

mod file;
pub mod line;
mod read;
mod endpoint;

pub(super) use endpoint::{LogQuery, answer};
