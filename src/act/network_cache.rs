//! The records that the runtime's CNI library keeps of the networks it has attached, and needs to detach them.
//!
//! The library writes a record without renaming it into place: a runtime that is killed in that moment leaves an empty
//! file, and every later attempt to stop the sandbox fails on it (`failed to get network … cached result`), for ever.
//! Since v1.3 the library drops such a record itself; containerd 1.6 carries v1.1.

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// Where the library keeps them (`CacheDir` of libcni).
pub const DIRECTORY: &str = "/var/lib/cni/results";

/// The most that is read of a record, in bytes; they have about a thousand.
const MAX_RECORD: u64 = 1 << 20;

/// The directory of the records. Cloning names the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkCache(pub PathBuf);

impl Default for NetworkCache {
    fn default() -> Self {
        NetworkCache(PathBuf::from(DIRECTORY))
    }
}

impl NetworkCache {
    /// Removes the truncated records of a sandbox and returns their paths. Their content is unreadable anyway, and a
    /// network can be detached without a record, too.
    pub(super) fn remove_broken(&self, sandbox: &str) -> io::Result<Vec<PathBuf>> {
        if sandbox.is_empty() {
            return Ok(Vec::new());
        }
        let entries = match std::fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut removed = Vec::new();
        for entry in entries {
            let entry = entry?;
            if is_of(&entry.file_name(), sandbox) && is_broken(&entry.path())? {
                std::fs::remove_file(entry.path())?;
                removed.push(entry.path());
            }
        }
        Ok(removed)
    }
}

/// Whether a file is the record of that sandbox: `<network>-<sandbox>-<interface>`.
fn is_of(name: &OsStr, sandbox: &str) -> bool {
    let infix = format!("-{sandbox}-");
    name.as_bytes()
        .windows(infix.len())
        .any(|part| part == infix.as_bytes())
}

/// Whether a file is not valid JSON. A file that is too large or not a regular file is not a record and is left alone.
fn is_broken(path: &Path) -> io::Result<bool> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_RECORD {
        return Ok(false);
    }
    let mut text = Vec::new();
    file.take(MAX_RECORD).read_to_end(&mut text)?;
    Ok(serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_broken_records_of_the_sandbox_go() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            ("gantry-abc-eth0", "", true),
            ("my-own-net-abc-eth1", r#"{"kind":"cniCacheV1","#, true),
            ("zeros-abc-eth0", "\0\0\0", true),
            ("whole-abc-eth0", r#"{"kind":"cniCacheV1"}"#, false),
            ("gantry-abcd-eth0", "", false),
            ("gantry-xabc-eth0", "", false),
            ("abc", "", false),
        ];
        for (name, text, _) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        std::fs::create_dir(dir.path().join("dir-abc-eth0")).unwrap();

        let cache = NetworkCache(dir.path().to_owned());
        let mut removed = cache.remove_broken("abc").unwrap();
        removed.sort();

        let mut broken: Vec<PathBuf> = files
            .iter()
            .filter(|(_, _, broken)| *broken)
            .map(|(name, _, _)| dir.path().join(name))
            .collect();
        broken.sort();
        assert_eq!(removed, broken);
        for (name, _, broken) in files {
            assert_eq!(dir.path().join(name).exists(), !broken, "{name}");
        }
        assert!(dir.path().join("dir-abc-eth0").exists());
    }

    #[test]
    fn a_node_without_records_has_none_that_are_broken() {
        let dir = tempfile::tempdir().unwrap();
        let cache = NetworkCache(dir.path().join("absent"));
        assert_eq!(cache.remove_broken("abc").unwrap(), Vec::<PathBuf>::new());
        std::fs::create_dir(&cache.0).unwrap();
        std::fs::write(cache.0.join("gantry--eth0"), "").unwrap();
        assert_eq!(cache.remove_broken("").unwrap(), Vec::<PathBuf>::new());
    }
}
