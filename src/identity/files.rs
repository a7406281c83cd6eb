//! Files that are there as a whole or not at all, and whose mode is right from the first byte on.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What holds keys or tokens.
pub const SECRET: u32 = 0o600;
/// What everybody may read.
pub const PUBLIC: u32 = 0o644;
/// A directory that others may look into; secrets in it have their own mode.
const DIRECTORY: u32 = 0o755;

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}", path.display())]
pub struct FileError {
    /// What was tried.
    pub verb: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// Makes a `FileError` of what the kernel said.
pub(super) fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { verb, path, source }
}

/// Writes a file of this mode: whoever looks sees the old content or the new, also after a loss of power. Missing
/// directories are made.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    make_directory(parent)?;
    let mut hidden = OsString::from(".");
    hidden.push(path.file_name().unwrap_or_default());
    hidden.push(".new");
    let temporary = parent.join(hidden);
    let filled = fill(&temporary, content, mode);
    filled.map_err(failed("write", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("write", path))?;
    sync(parent)
}

fn fill(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // What an interrupted writer left may have another mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    // The umask may have taken bits away.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes a directory and those above it, where they are missing.
pub fn make_directory(path: &Path) -> Result<(), FileError> {
    let made = DirBuilder::new().recursive(true).mode(DIRECTORY).create(path);
    made.map_err(failed("make the directory", path))
}

/// Brings a directory's names to the disk.
pub(super) fn sync(directory: &Path) -> Result<(), FileError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(failed("write", directory))
}

/// Reads a file; `None` where there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Removes a file; whether there was one.
pub fn remove(path: &Path) -> Result<bool, FileError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("remove", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_owners_alone_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/secret");
        write(&path, b"one", SECRET).unwrap();
        // An interrupted writer's file is no hindrance, nor its mode the new one's.
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
