//! `gantry top`: what the node, its pods and their containers use.
//!
//! - `answers`: asks the agent for counters and pods.
//! - `rates` (pure): what two answers say together.
//! - `rows` (pure): with what is reported of the pods.
//! - `sort`, `filter`, `amounts` (pure): which pods come first, which are shown, and how amounts are written.
//! - `options`: what both forms are asked.
//! - `once`: the table and JSON of `--once`.
//! - `live`: the live view, of `state` (pure), `columns` (pure), `view` (pure) and `screen` (the terminal).

pub(super) mod amounts;
mod answers;
mod columns;
mod filter;
pub mod live;
pub mod once;
pub mod options;
mod rates;
mod rows;
#[cfg(test)]
mod sample;
mod screen;
mod sort;
pub mod state;
mod view;
