//! The files of the records: their names, and reading and writing them whole.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::disk::write::{self, Durability, Unfinished, Writing};

/// The maximum size of a record. One image may be pulled under any number of names, which pods and registries choose; a
/// record that would be larger is replaced by one with only the last pull, and earlier pods need credentials again.
pub(super) const MAX_RECORD: u64 = 1 << 20;
/// The prefix of record files, and the suffix of files that are being written.
const PREFIX: &str = "sha256-";
const UNFINISHED: &str = ".tmp";

/// The name of the file about an image.
pub(super) fn file_name(image: &str) -> String {
    let digest = Sha256::digest(image.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{hex}")
}

/// The content of a file; `None`: it does not exist.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_RECORD + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_RECORD {
        true => Err(io::Error::other("the record is too large")),
        false => Ok(Some(bytes)),
    }
}

/// The contents of a directory's records, unordered. An unreadable one is skipped: it is logged when its image is used.
pub(super) fn contents(directory: &Path) -> io::Result<impl Iterator<Item = Vec<u8>>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        entries => Some(entries?),
    };
    let is_record = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(PREFIX) && !name.ends_with(UNFINISHED)
    };
    let entries = entries.into_iter().flatten().filter_map(Result::ok);
    let paths = entries.map(|entry| entry.path()).filter(is_record);
    Ok(paths.filter_map(|path| read(&path).ok().flatten()))
}

/// How many files a directory has; none if it is not there.
pub(super) fn number_of(directory: &Path) -> io::Result<usize> {
    match fs::read_dir(directory) {
        Ok(entries) => Ok(entries.count()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// The kubelet, which has the same records, knows the suffix of unfinished ones.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let writing = Writing {
        unfinished: Unfinished::Suffix(UNFINISHED),
        ..Writing::private(Durability::Crash)
    };
    write::write(path, bytes, writing)
}
