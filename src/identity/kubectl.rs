//! The credentials of the endpoint for kubectl: a key with a self-signed certificate for 127.0.0.1, and a random token. They
//! are made once and used again after a restart, so that a copied kubeconfig stays valid.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;

use super::files::{self, FileError};
use super::self_signed::{self, Pair, SelfSignedError};

/// How long the certificate is valid: clients trust this one certificate and no other, so that nothing is gained by
/// changing it.
const LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// The length of a token in bytes, before it is encoded.
const TOKEN: usize = 32;
/// The name of the cluster, the user and the context.
const NAME: &str = "gantry";

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum KubectlError {
    /// A file of them.
    #[error("cannot store the credentials of the kubectl endpoint")]
    File(#[from] FileError),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] SelfSignedError),
    /// The kernel gives no random bytes.
    #[error("cannot make a token for the kubectl endpoint: the system has no random numbers")]
    Random,
}

/// The bearer token. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct KubectlToken(String);

impl KubectlToken {
    /// The token as clients send it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn read(text: &[u8]) -> Option<KubectlToken> {
        let text = std::str::from_utf8(text).ok()?.trim_end();
        let decoded = URL_SAFE_NO_PAD.decode(text).ok()?;
        (decoded.len() == TOKEN).then(|| KubectlToken(text.to_owned()))
    }

    fn random() -> Result<KubectlToken, KubectlError> {
        let mut bytes = [0; TOKEN];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| KubectlError::Random)?;
        Ok(KubectlToken(URL_SAFE_NO_PAD.encode(bytes)))
    }
}

impl std::fmt::Debug for KubectlToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<token>")
    }
}

/// The credentials, read. They are never printed.
#[derive(Clone)]
pub struct KubectlCredentials {
    /// The certificate as PEM.
    pub certificate: Vec<u8>,
    /// Its key as PEM.
    pub key: Vec<u8>,
    /// The token.
    pub token: KubectlToken,
}

/// The credentials in that directory. What is missing, damaged or expired is made.
pub fn ensure(directory: &Path, now: Timestamp) -> Result<KubectlCredentials, KubectlError> {
    let pair = Pair {
        certificate: directory.join("tls.crt"),
        key: directory.join("tls.key"),
    };
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
    self_signed::ensure_pair(&pair, "localhost", &addresses, now, LIFE)?;
    let token_file = directory.join("token");
    let stored = files::read(&token_file)?.and_then(|text| KubectlToken::read(&text));
    let token = match stored {
        Some(token) => token,
        None => {
            let token = KubectlToken::random()?;
            files::write(&token_file, token.0.as_bytes(), files::SECRET)?;
            token
        }
    };
    Ok(KubectlCredentials {
        certificate: files::read(&pair.certificate)?.unwrap_or_default(),
        key: files::read(&pair.key)?.unwrap_or_default(),
        token,
    })
}

impl KubectlCredentials {
    /// The kubeconfig with which kubectl asks this port of 127.0.0.1. JSON is YAML, too; each field has its own line.
    pub fn kubeconfig(&self, port: u16) -> String {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": NAME, "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority-data": STANDARD.encode(&self.certificate),
            }}],
            "users": [{"name": NAME, "user": {"token": self.token.expose()}}],
            "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
            "current-context": NAME,
        });
        format!("{config:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn credentials_are_made_once_and_damaged_ones_are_made_again() {
        let temp = tempfile::tempdir().unwrap();
        let directory = temp.path().join("kubectl");
        let now = Timestamp::now();
        let first = ensure(&directory, now).unwrap();
        let again = ensure(&directory, now).unwrap();
        assert_eq!(
            (&first.token, &first.certificate),
            (&again.token, &again.certificate)
        );
        assert_eq!(format!("{:?}", first.token), "<token>");
        for name in ["token", "tls.key"] {
            let mode = fs::metadata(directory.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        for damage in ["", "short", "not base64 at all, but of a good length it is!!"] {
            fs::write(directory.join("token"), damage).unwrap();
            assert_ne!(ensure(&directory, now).unwrap().token, first.token, "{damage:?}");
        }
        let renewed = ensure(&directory, now + LIFE).unwrap();
        assert_ne!(renewed.certificate, first.certificate);
    }

    #[test]
    fn the_kubeconfig_has_one_context_with_everything_in_it() {
        let temp = tempfile::tempdir().unwrap();
        let credentials = ensure(temp.path(), Timestamp::now()).unwrap();
        let text = credentials.kubeconfig(10247);
        let config: kube::config::Kubeconfig = serde_json::from_str(&text).unwrap();
        assert_eq!(config.current_context.as_deref(), Some("gantry"));
        let cluster = config.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:10247"));
        let ca = cluster.certificate_authority_data.as_ref().unwrap();
        assert_eq!(STANDARD.decode(ca).unwrap(), credentials.certificate);
        assert!(text.contains(credentials.token.expose()));
    }
}
