//! The kubeconfig of the endpoint for kubectl, where people find it. It is there while the agent runs.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::files::{self, FileError, failed};
use crate::disk::write::{self, Durability, Writing};

/// The name of the file, beside the agent's socket.
pub const NAME: &str = "kubeconfig";

/// The mode of the file that a group may read, and of its directory, which the group may only pass through.
const GROUP_FILE: u32 = 0o640;
const GROUP_DIRECTORY: u32 = 0o710;
/// The mode of the directory without a group.
const CLOSED: u32 = 0o700;

/// Who may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Its owner.
    Owner,
    /// The owner and this group.
    Group(u32),
}

/// The written file: removed when this is dropped.
#[derive(Debug)]
pub struct KubectlFile(PathBuf);

impl Drop for KubectlFile {
    fn drop(&mut self) {
        if let Err(error) = files::remove(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove the kubeconfig of a port that is closed");
        }
    }
}

/// Writes the file for these readers. A directory that others may use already, which is not the agent's own, is left as it
/// is.
pub fn publish(path: &Path, content: &str, readers: Readers) -> Result<KubectlFile, FileError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let writing = Writing::private(Durability::Crash);
    // Its owner's alone, until its group is set.
    write::write(path, content.as_bytes(), writing).map_err(failed("write", path))?;
    let file = KubectlFile(path.to_owned());
    let mode = fs::metadata(directory).map_err(failed("read", directory))?.mode() & 0o7777;
    let set_mode = |path: &Path, mode: u32| {
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("set the mode of", path))
    };
    let is_own = [CLOSED, GROUP_DIRECTORY].contains(&mode);
    match readers {
        Readers::Owner if mode == GROUP_DIRECTORY => set_mode(directory, CLOSED)?,
        Readers::Owner => {}
        Readers::Group(group) => {
            chown(path, None, Some(group)).map_err(failed("set the group of", path))?;
            set_mode(path, GROUP_FILE)?;
            if is_own {
                chown(directory, None, Some(group)).map_err(failed("set the group of", directory))?;
                set_mode(directory, GROUP_DIRECTORY)?;
            }
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn it_is_there_for_its_readers_until_it_is_dropped() {
        let temp = tempfile::tempdir().unwrap();
        let directory = temp.path().join("run");
        let path = directory.join(NAME);
        let file = publish(&path, "text", Readers::Owner).unwrap();
        assert_eq!((mode(&path), mode(&directory)), (0o600, 0o700));
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        drop(file);
        assert!(!path.exists());

        // A group of the user that runs this test.
        let own = fs::metadata(temp.path()).unwrap().gid();
        let file = publish(&path, "text", Readers::Group(own)).unwrap();
        assert_eq!((mode(&path), mode(&directory)), (0o640, 0o710));
        drop(file);
        let _file = publish(&path, "text", Readers::Owner).unwrap();
        assert_eq!((mode(&path), mode(&directory)), (0o600, 0o700), "closed again");
    }

    #[test]
    fn a_directory_of_others_is_left_as_it_is() {
        let temp = tempfile::tempdir().unwrap();
        let directory = temp.path().join("run");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        let own = fs::metadata(temp.path()).unwrap().gid();
        let _file = publish(&directory.join(NAME), "text", Readers::Group(own)).unwrap();
        assert_eq!(mode(&directory), 0o755);
    }
}
