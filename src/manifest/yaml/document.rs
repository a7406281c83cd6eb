//! One document of a file, as it was read.

use std::rc::Rc;

use super::tree::Node;
use crate::manifest::path::Fault;

/// One document of a file.
#[derive(Debug)]
pub(crate) struct Document {
    /// Its number within the file, from 1.
    pub(crate) number: usize,
    /// The line on which it starts.
    pub(crate) line: usize,
    /// The tree; of a document that could not be read to its end, the entries that are complete. `None` for an empty
    /// document.
    pub(crate) root: Option<Rc<Node>>,
    /// Whether it was read to its end.
    pub(crate) complete: bool,
    /// The faults that make the tree unusable.
    pub(crate) faults: Vec<Fault>,
}
