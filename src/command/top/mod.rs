//! `gantry top`: what the node, its pods and their containers use.
//!
//! - `answers`: asks the agent for counters and pods.
//! - `rates`: what two answers say together. Pure.
//! - `rows`: with what is reported of the pods. Pure.
//! - `sort`, `filter`, `amounts`: which pods come first, which are shown, and how amounts are written. Pure.
//! - `once`: the table and JSON of `--once`.
//! - `live`: the live view, of `state` (pure), `columns` and `view` (pure) and `screen` (the terminal).

mod amounts;
mod answers;
mod columns;
mod filter;
pub mod live;
pub mod once;
mod rates;
mod rows;
#[cfg(test)]
mod sample;
mod screen;
mod sort;
pub mod state;
mod view;
