//! The node's own private key: ECDSA on P-256, as the kubelet makes.

use std::path::Path;

use rcgen::{KeyPair, PublicKeyData as _};

use super::files::{self, FileError};

/// A private key. Its Debug output is only its kind.
pub struct Key(KeyPair);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(P-256, redacted)")
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The machine provides no random numbers.
    #[error("cannot generate a key")]
    Make(#[source] rcgen::Error),
    /// Its file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Key {
    /// Generates a key.
    pub fn generate() -> Result<Key, KeyError> {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256);
        pair.map(Key).map_err(KeyError::Make)
    }

    /// The key of a file; if it has none, generates one and writes it there.
    pub fn kept(path: &Path) -> Result<Key, KeyError> {
        let there = files::read(path)?.and_then(|text| String::from_utf8(text).ok());
        if let Some(pair) = there.and_then(|text| KeyPair::from_pem(&text).ok()) {
            return Ok(Key(pair));
        }
        let key = Key::generate()?;
        files::write(path, key.pem().as_bytes(), files::SECRET)?;
        Ok(key)
    }

    /// As PEM: a secret.
    pub fn pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// The public key as DER, a SubjectPublicKeyInfo.
    pub fn public(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    /// For signing.
    pub(super) fn pair(&self) -> &KeyPair {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_and_does_not_show_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let first = Key::kept(&path).unwrap();
        assert_eq!(Key::kept(&path).unwrap().public(), first.public());
        assert!(!format!("{first:?}").contains(&first.pem()[40..60]));
        std::fs::write(&path, "half a ke").unwrap();
        assert_ne!(Key::kept(&path).unwrap().public(), first.public());
    }
}
