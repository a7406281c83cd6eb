//! The encryption key of the checkpoint of the API server's pods, which includes Secrets: the file can only be read
//! with the key, and the key only with root's rights on this machine.
//!
//! The key is a file beside the machine's other secrets, outside the checkpoint's directory, or a credential that
//! systemd passes to the service (`LoadCredentialEncrypted=`, sealed by the machine's TPM). It is created where it does
//! not exist: removing it makes the checkpoint unreadable, and the next write encrypts with a new key.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};

use crate::disk::write::{self, Durability, Writing};

/// The header of a sealed file. It is authenticated with the rest, so that a file sealed for another purpose is not
/// accepted.
const HEAD: &[u8] = b"gantry sealed store 1\n";
/// The length of a key's fingerprint, which does not reveal the key.
const MARK: usize = 8;
/// Bytes of a key.
const KEY: usize = 32;
/// The name of the credential that systemd may give.
pub const CREDENTIAL: &str = "gantry.store-key";

/// The location of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyhole {
    /// The file, readable only by root; it is created where it does not exist.
    pub file: PathBuf,
    /// The directory of the service's credentials (`$CREDENTIALS_DIRECTORY`): the credential [`CREDENTIAL`] takes
    /// precedence over the file.
    pub credentials: Option<PathBuf>,
}

/// A key. It is never printed.
pub struct Key([u8; KEY]);

/// Why a sealed file cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// It was sealed with another key.
    #[error("it was encrypted with a key that is no longer there")]
    OtherKey,
    /// It is truncated or was changed.
    #[error("it is damaged")]
    Damaged,
}

/// Whether bytes are sealed; older versions did not seal.
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(HEAD)
}

/// The fingerprint of the key that sealed them.
pub(super) fn mark(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(HEAD)?.get(..MARK)
}

/// The length of the header and the key's fingerprint.
pub(super) const MARK_END: usize = HEAD.len() + MARK;

impl Key {
    /// The key's fingerprint.
    pub(super) fn mark(&self) -> [u8; MARK] {
        let digest = Sha256::new()
            .chain_update(b"mark\n")
            .chain_update(self.0)
            .finalize();
        let mut mark = [0; MARK];
        mark.copy_from_slice(&digest[..MARK]);
        mark
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&AES_256_GCM, &self.0);
        LessSafeKey::new(key.expect("the key has the cipher's key length"))
    }

    /// Seals bytes with a random nonce: files are written seconds apart, so no nonce repeats.
    pub fn seal(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let lack = |_| io::Error::other("the system provides random numbers");
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(lack)?;
        let mut sealed = [HEAD, &self.mark(), &nonce].concat();
        let mut content = bytes.to_vec();
        let aad = Aad::from(sealed.clone());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let too_long = |_| io::Error::other("the plaintext is short enough to be sealed");
        self.cipher()
            .seal_in_place_append_tag(nonce, aad, &mut content)
            .map_err(too_long)?;
        sealed.append(&mut content);
        Ok(sealed)
    }

    /// Opens what was sealed.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Closed> {
        if mark(sealed).ok_or(Closed::Damaged)? != self.mark() {
            return Err(Closed::OtherKey);
        }
        let begin = MARK_END + NONCE_LEN;
        let (before, content) = sealed.split_at_checked(begin).ok_or(Closed::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(&before[MARK_END..]).map_err(|_| Closed::Damaged)?;
        let mut content = content.to_vec();
        let opened = self
            .cipher()
            .open_in_place(nonce, Aad::from(before), &mut content);
        Ok(opened.map_err(|_| Closed::Damaged)?.to_vec())
    }
}

impl Keyhole {
    /// The key, where it exists.
    pub fn key(&self) -> io::Result<Option<Key>> {
        if let Some(given) = self.credential()? {
            return Ok(Some(given));
        }
        let text = match read(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let mode = fs::metadata(&self.file)?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!(path = %self.file.display(), "the encryption key was accessible to users other than \
             root; its mode is now 0600; remove the file to get a new key");
            fs::set_permissions(&self.file, Permissions::from_mode(0o600))?;
        }
        Ok(decoded(&text))
    }

    /// The key; a new one where it does not exist or is invalid.
    pub(super) fn key_or_new(&self) -> io::Result<Key> {
        if let Some(key) = self.key()? {
            return Ok(key);
        }
        let mut key = [0; KEY];
        let lack = |_| io::Error::other("the system provides random numbers");
        SystemRandom::new().fill(&mut key).map_err(lack)?;
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let writing = Writing {
            directories: 0o755,
            ..Writing::private(Durability::PowerFailure)
        };
        write::write(&self.file, format!("{hex}\n").as_bytes(), writing)?;
        Ok(Key(key))
    }

    /// Removes the file: sealed files become unreadable.
    pub(super) fn forget(&self) -> io::Result<()> {
        write::remove_if_there(&self.file)
    }

    /// systemd's credential can have any form; a hash makes a key of it.
    fn credential(&self) -> io::Result<Option<Key>> {
        let Some(directory) = &self.credentials else {
            return Ok(None);
        };
        let given = match read(&directory.join(CREDENTIAL)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            given => given?,
        };
        match given.len() < KEY {
            true => Err(io::Error::other(format!(
                "the credential {CREDENTIAL} is shorter than {KEY} bytes"
            ))),
            false => Ok(Some(Key(Sha256::digest(&given).into()))),
        }
    }
}

/// No valid key file is longer.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(4096).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn decoded(text: &[u8]) -> Option<Key> {
    let text = std::str::from_utf8(text).ok()?.trim_end();
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |sum, digit| sum * 16 + digit))
        .collect();
    match digits.len() == 2 * KEY {
        true => Some(Key(bytes.try_into().ok()?)),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyhole(directory: &Path) -> Keyhole {
        Keyhole {
            file: directory.join("etc/key"),
            credentials: Some(directory.join("credentials")),
        }
    }

    #[test]
    fn what_is_sealed_is_opened_with_its_key_alone_and_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let keyhole = keyhole(directory.path());
        assert!(keyhole.key().unwrap().is_none());
        let key = keyhole.key_or_new().unwrap();
        let sealed = key.seal(b"hunter2").unwrap();
        assert!(is_sealed(&sealed) && !is_sealed(b"hunter2"));
        assert!(!sealed.windows(7).any(|bytes| bytes == b"hunter2"));
        assert_ne!(
            key.seal(b"hunter2").unwrap(),
            sealed,
            "a nonce of its own each time"
        );
        let again = keyhole.key().unwrap().unwrap();
        assert_eq!(again.open(&sealed).unwrap(), b"hunter2");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(again.open(&changed).is_err(), "byte {at}");
            assert!(again.open(&sealed[..at]).is_err(), "cut off at {at}");
        }
        keyhole.forget().unwrap();
        let other = keyhole.key_or_new().unwrap();
        assert_eq!(other.open(&sealed), Err(Closed::OtherKey));
    }

    #[test]
    fn the_key_is_roots_alone() {
        let directory = tempfile::tempdir().unwrap();
        let keyhole = keyhole(directory.path());
        let key = keyhole.key_or_new().unwrap();
        let mode = || fs::metadata(&keyhole.file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&keyhole.file, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(keyhole.key().unwrap().unwrap().mark(), key.mark());
        assert_eq!(mode(), 0o600);
        // An invalid key is replaced.
        fs::write(&keyhole.file, "half a ke").unwrap();
        assert!(keyhole.key().unwrap().is_none());
        assert_ne!(keyhole.key_or_new().unwrap().mark(), key.mark());
    }

    #[test]
    fn a_credential_of_the_service_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let keyhole = keyhole(directory.path());
        fs::create_dir(directory.path().join("credentials")).unwrap();
        let given = directory.path().join("credentials").join(CREDENTIAL);
        fs::write(&given, [7; 48]).unwrap();
        let key = keyhole.key_or_new().unwrap();
        assert!(!keyhole.file.exists());
        assert_eq!(keyhole.key().unwrap().unwrap().mark(), key.mark());
        fs::write(&given, "short").unwrap();
        assert!(keyhole.key_or_new().is_err(), "not silently another key");
    }
}
