//! Certificates with their keys on disk, as the kubelet stores them (`client-go/util/certificate`), so that each can
//! take over the other's:
//!
//! ```text
//! <dir>/<pair>-2026-11-25-17-00-00.pem   certificate, those between it and the CA, key
//! <dir>/<pair>-current.pem               a link to the one in force, moved by a rename
//! <dir>/<pair>.key.tmp                   the key of a request that is not answered yet
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use super::certificate::{self, Certificate, NotCertificates};
use super::files::{self, FileError, failed};
use super::key::{Key, KeyError};

/// The name of the client pairs.
pub const CLIENT: &str = "kubelet-client";
/// The name of the server pairs.
pub const SERVER: &str = "kubelet-server";

/// Why a certificate is not stored, or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something other than a symbolic link is in its place, which the agent does not remove.
    #[error("{} is not a symbolic link; move it away so that a certificate can be stored there", .0.display())]
    NotALink(PathBuf),
    /// The file has no certificate.
    #[error("{} has no certificate; remove it to request a new one", .0.display())]
    Empty(PathBuf),
    /// The file's certificates cannot be read.
    #[error("{} has no readable certificate; remove it to request a new one", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: NotCertificates,
    },
    /// The file's key is missing, or another certificate's.
    #[error("the key in {} is missing, damaged or does not match; remove it to request a new certificate", .0.display())]
    Key(PathBuf),
}

/// One pair's place on disk.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
    pair: &'static str,
}

impl Store {
    /// The location; nothing is read or created yet.
    pub fn new(directory: &Path, pair: &'static str) -> Store {
        Store {
            directory: directory.to_owned(),
            pair,
        }
    }

    /// The link to the current certificate.
    pub fn current(&self) -> PathBuf {
        self.file("current")
    }

    fn file(&self, qualifier: &str) -> PathBuf {
        self.directory.join(format!("{}-{qualifier}.pem", self.pair))
    }

    fn pending(&self) -> PathBuf {
        self.directory.join(format!("{}.key.tmp", self.pair))
    }

    /// The current certificate; `None` if there is none. The error is a file that cannot be used.
    pub fn read(&self) -> Result<Option<Certificate>, StoreError> {
        self.recover()?;
        let path = self.current();
        let Some(content) = files::read(&path)? else {
            return Ok(None);
        };
        leaf(&path, &content).map(Some)
    }

    /// A kubelet removes the link before it moves the next one there, and may have been killed in between.
    fn recover(&self) -> Result<(), FileError> {
        let (current, next) = (self.current(), self.file("updated"));
        let is_link = |path: &Path| fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink());
        if !current.exists() && is_link(&next) {
            fs::rename(&next, &current).map_err(failed("move", &next))?;
        }
        Ok(())
    }

    /// Stores a certificate with its key and makes them current.
    pub fn update(&self, chain: &[u8], key: &str, now: Timestamp) -> Result<Certificate, StoreError> {
        let (current, next) = (self.current(), self.file("updated"));
        match fs::symlink_metadata(&current) {
            Ok(about) if !about.is_symlink() => return Err(StoreError::NotALink(current)),
            _ => {}
        }
        let zone = jiff::tz::TimeZone::system();
        let time = now.to_zoned(zone).strftime("%Y-%m-%d-%H-%M-%S").to_string();
        let path = self.file(&time);
        let mut content = chain.to_vec();
        if content.last() != Some(&b'\n') {
            content.push(b'\n');
        }
        content.extend_from_slice(key.as_bytes());
        let found = leaf(&path, &content)?;
        files::write(&path, &content, files::SECRET)?;
        files::remove(&next)?;
        symlink(&path, &next).map_err(failed("write", &next))?;
        fs::rename(&next, &current).map_err(failed("write", &current))?;
        files::sync(&self.directory)?;
        Ok(found)
    }

    /// The key of the request in progress: the same one until [`Store::settle`], also after a restart.
    pub fn pending_key(&self) -> Result<Key, KeyError> {
        Key::kept(&self.pending())
    }

    /// The request was answered and the certificate stored.
    pub fn settle(&self) -> Result<(), FileError> {
        files::remove(&self.pending()).map(|_| ())
    }

    /// Removes every certificate and key of this pair.
    pub fn clear(&self) -> Result<(), FileError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("read", &self.directory)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed("read", &self.directory))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_ours = name
                .strip_prefix(self.pair)
                .is_some_and(|rest| rest == ".key.tmp" || (rest.starts_with('-') && rest.ends_with(".pem")));
            if is_ours {
                files::remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// The first certificate of a PEM text, which must have its key too.
fn leaf(path: &Path, content: &[u8]) -> Result<Certificate, StoreError> {
    let mut chain = certificate::certificates(content).map_err(|source| StoreError::Certificates {
        path: path.to_owned(),
        source,
    })?;
    if chain.is_empty() {
        return Err(StoreError::Empty(path.to_owned()));
    }
    let leaf = chain.remove(0);
    if fits(&leaf, content) {
        Ok(leaf)
    } else {
        Err(StoreError::Key(path.to_owned()))
    }
}

/// Whether the first key of a PEM text is the certificate's.
pub(super) fn fits(leaf: &Certificate, key: &[u8]) -> bool {
    let signing = PrivateKeyDer::from_pem_slice(key)
        .ok()
        .and_then(|key| rustls::crypto::ring::sign::any_supported_type(&key).ok());
    let public = signing.and_then(|key| Some(key.public_key()?.to_vec()));
    public.is_some_and(|public| public == leaf.public_key())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::identity::certificate::tests::Authority;

    #[test]
    fn the_link_moves_to_each_new_certificate() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(&directory.path().join("pki"), CLIENT);
        assert!(store.read().unwrap().is_none());
        let authority = Authority::new("ca");
        let now = Timestamp::now();
        let (pem, key) = authority.issue("one", -1, 60);
        store.update(pem.as_bytes(), &key, now).unwrap();
        let (pem, key) = authority.issue("two", -1, 60);
        let later = now + jiff::SignedDuration::from_secs(1);
        store.update(pem.as_bytes(), &key, later).unwrap();
        assert_eq!(store.read().unwrap().unwrap().common_name, "two");
        let target = fs::read_link(store.current()).unwrap();
        assert!(target.is_absolute());
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        // Two certificates and the link.
        assert_eq!(fs::read_dir(directory.path().join("pki")).unwrap().count(), 3);
        store.pending_key().unwrap();
        store.clear().unwrap();
        assert_eq!(fs::read_dir(directory.path().join("pki")).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_kubelet_left_is_finished() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path(), CLIENT);
        let (pem, key) = Authority::new("ca").issue("one", -1, 60);
        store.update(pem.as_bytes(), &key, Timestamp::now()).unwrap();
        fs::rename(store.current(), store.file("updated")).unwrap();
        assert_eq!(store.read().unwrap().unwrap().common_name, "one");
    }

    #[test]
    fn what_cannot_be_used_is_not_put_in_force() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path(), CLIENT);
        let authority = Authority::new("ca");
        let (pem, key) = authority.issue("one", -1, 60);
        let (_, other) = authority.issue("two", -1, 60);
        let update = |pem: &str, key: &str| store.update(pem.as_bytes(), key, Timestamp::now());
        assert!(matches!(update(&pem, &other), Err(StoreError::Key(_))));
        assert!(matches!(update("", &key), Err(StoreError::Empty(_))));
        fs::write(store.current(), "mine").unwrap();
        assert!(matches!(update(&pem, &key), Err(StoreError::NotALink(_))));
        assert!(store.read().is_err());
    }

    #[test]
    fn the_key_of_a_request_stays_until_it_is_answered() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path(), CLIENT);
        let first = store.pending_key().unwrap().public();
        assert_eq!(store.pending_key().unwrap().public(), first);
        store.settle().unwrap();
        assert_ne!(store.pending_key().unwrap().public(), first);
    }
}
