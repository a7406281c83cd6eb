//! Keys, certificates and configurations of the node: whole also after a power failure.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::disk::write::{self, Durability, Mode, Writing};

/// For keys and tokens.
pub const SECRET: u32 = 0o600;
/// For public files.
pub const PUBLIC: u32 = 0o644;
/// A directory that others may list; secrets in it have their own mode.
const DIRECTORY: u32 = 0o755;

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}", path.display())]
pub struct FileError {
    /// The operation.
    pub verb: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// The system's error.
    #[source]
    pub source: io::Error,
}

/// Makes a `FileError` from an I/O error.
pub(super) fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { verb, path, source }
}

/// Writes a file with this mode. A reader sees either the old content or the new, also after a power loss. Missing
/// directories are created.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    make_directory(path.parent().unwrap_or(Path::new("/")))?;
    let writing = Writing {
        mode: Mode::Exactly(mode),
        directories: DIRECTORY,
        ..Writing::private(Durability::PowerFailure)
    };
    write::write(path, content, writing).map_err(failed("write", path))
}

/// Creates a directory and its parents, if missing.
pub fn make_directory(path: &Path) -> Result<(), FileError> {
    let made = DirBuilder::new().recursive(true).mode(DIRECTORY).create(path);
    made.map_err(failed("create the directory", path))
}

/// Syncs a directory's entries to disk.
pub(super) fn sync(directory: &Path) -> Result<(), FileError> {
    write::sync(directory).map_err(failed("write", directory))
}

/// Reads a file; `None` if it does not exist.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Removes a file; returns whether it existed.
pub fn remove(path: &Path) -> Result<bool, FileError> {
    write::remove_file(path).map_err(failed("remove", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_its_owners_alone_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/secret");
        write(&path, b"one", SECRET).unwrap();
        // The leftover file of an interrupted writer neither blocks the write nor passes its mode on.
        fs::write(directory.path().join("a/b/.secret.new"), b"half").unwrap();
        write(&path, b"two", SECRET).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(remove(&path).unwrap());
        assert!(!remove(&path).unwrap());
        assert_eq!(read(&path).unwrap(), None);
    }
}
