//! What was not copied.

use std::io::Write;
use std::path::PathBuf;

use crate::command::table::in_line;
use crate::command::{CommandError, print};

/// Something that was not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where it is, as the source calls it.
    pub path: PathBuf,
    /// Why, as the rest of "it was not copied: ".
    pub why: String,
}

/// Reports what was not copied.
pub(super) fn report(skipped: &[Skipped], err: &mut impl Write) -> Result<(), CommandError> {
    for Skipped { path, why } in skipped {
        let line = format!("warning: {} was not copied: {why}", path.display());
        print(err, &format!("{}\n", in_line(&line)))?;
    }
    Ok(())
}
