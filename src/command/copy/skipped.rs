//! What was not copied.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::command::table::in_line;
use crate::command::{CommandError, print};

/// The length of all paths together from which on files are only counted: whoever made the archive chooses how many
/// there are.
const MOST_BYTES: usize = 64 * 1024;

/// Something that was not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedFile {
    /// Where it is, as the source calls it.
    pub path: PathBuf,
    /// Why, as the rest of "it was not copied: ".
    pub why: String,
}

/// Everything that was not copied.
#[derive(Debug, Default)]
pub struct Skipped {
    listed: Vec<SkippedFile>,
    /// The length of the paths that are listed, in bytes.
    size: usize,
    /// How many more there are.
    more: u64,
}

impl Skipped {
    pub(super) fn add(&mut self, path: &Path, why: &str) {
        let size = self.size + path.as_os_str().len();
        if size > MOST_BYTES {
            self.more += 1;
            return;
        }
        self.size = size;
        self.listed.push(SkippedFile {
            path: path.to_owned(),
            why: why.to_owned(),
        });
    }

    /// Those that are listed, in the order of the archive.
    pub fn listed(&self) -> &[SkippedFile] {
        &self.listed
    }

    /// Reports what was not copied.
    pub(super) fn report(&self, err: &mut impl Write) -> Result<(), CommandError> {
        for SkippedFile { path, why } in &self.listed {
            let line = format!("warning: {} was not copied: {why}", path.display());
            print(err, &format!("{}\n", in_line(&line)))?;
        }
        match self.more {
            0 => Ok(()),
            more => print(err, &format!("warning: {more} more files were not copied\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_counted() {
        let mut skipped = Skipped::default();
        let long = "x".repeat(MOST_BYTES / 2 - 1);
        for name in ["a\nb", &long, &long, &long] {
            skipped.add(Path::new(name), "it is a pipe");
        }
        let mut text = Vec::new();
        skipped.report(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap().replace(&long, "LONG");
        let expected = "warning: a␊b was not copied: it is a pipe\n\
                        warning: LONG was not copied: it is a pipe\n\
                        warning: 2 more files were not copied\n";
        assert_eq!(text, expected);
    }
}
