//! Text to trees: the bytes of a file become documents whose values know their lines.
//!
//! [`text`] refuses what no manifest can be, [`parse`] runs the parser within budgets, [`composer`] makes trees of its
//! events with [`entries`] for mappings, and [`tree`] is the result. What a scalar means is in `model/yaml`.

pub(super) mod text;
pub(super) mod tree;
mod entries;
mod key;
mod composer;
mod document;
mod parse;

pub(super) use document::Document;
pub(super) use parse::documents;
