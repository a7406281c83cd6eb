//! The TLS files of the node API: its serving certificate and the CAs of its clients, and the TLS configuration made
//! from them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::any_certificate::AnyCertificate;
use super::offer;
use crate::model::tls::TlsOffer;

/// The source of the serving certificate.
#[derive(Debug, Clone)]
pub enum ServingCertificate {
    /// These files, which must exist: the certificate with its chain, and its key.
    Files(PathBuf, PathBuf),
    /// Signed by the cluster. While it is missing or expired, all connections are rejected, as in the kubelet.
    Signed {
        /// The file with the certificate and its key.
        current: PathBuf,
        /// The certificate used until that one exists.
        before: Option<(PathBuf, PathBuf)>,
    },
}

impl ServingCertificate {
    /// The files of the certificate and its key; `None` if there are none.
    fn pair(&self) -> Option<(&Path, &Path)> {
        match self {
            ServingCertificate::Files(certificate, key) => Some((certificate, key)),
            ServingCertificate::Signed { current, .. } if current.exists() => Some((current, current)),
            ServingCertificate::Signed { before, .. } => {
                let (certificate, key) = before.as_ref()?;
                Some((certificate, key))
            }
        }
    }
}

/// The node API's TLS files. They are checked, and read again if they changed, on each connection and each request.
#[derive(Debug, Clone)]
pub struct Files {
    /// The node's certificate and key.
    pub serving_certificate: ServingCertificate,
    /// The CAs of client certificates; `None`: client certificates are not accepted.
    pub client_ca: Option<PathBuf>,
    /// The TLS versions and cipher suites offered to clients.
    pub offer: TlsOffer,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or its content is invalid.
    #[error("cannot use {} for the node API: {why}; check the file", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("cannot use the certificate {} with its key: {source}", path.display())]
    Pair {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// Identifies a version of the files.
pub(super) type Stamp = Vec<Option<(u64, u64, i64, i64, u64)>>;

pub(super) fn stamp(files: &Files) -> Stamp {
    let pair = files.serving_certificate.pair();
    let paths = [
        pair.map(|(certificate, _)| certificate),
        pair.map(|(_, key)| key),
        files.client_ca.as_deref(),
    ];
    let look = |path: &Path| {
        let meta = fs::metadata(path).ok()?;
        Some((
            meta.dev(),
            meta.ino(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.len(),
        ))
    };
    paths.into_iter().map(|path| path.and_then(look)).collect()
}

/// The configuration made from the files.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) acceptor: TlsAcceptor,
    pub(super) verifier: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) serving_certificate: Arc<Own>,
}

/// The loaded serving certificate.
#[derive(Debug)]
pub(super) struct Own {
    key: Option<Arc<CertifiedKey>>,
    /// The expiry after which it is no longer used, in seconds since 1970.
    until: Option<u64>,
}

impl Own {
    const NONE: Own = Own {
        key: None,
        until: None,
    };

    /// Whether there is a certificate.
    pub(super) fn is_there(&self, now: UnixTime) -> bool {
        self.key.is_some() && self.until.is_none_or(|until| now.as_secs() < until)
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let there = self.is_there(UnixTime::now());
        self.key.clone().filter(|_| there)
    }
}

pub(super) fn load(files: &Files) -> Result<Loaded, TlsError> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| TlsError::File {
        path: path.to_owned(),
        why: why.to_string(),
    };
    let provider = Arc::new(offer::provider(&files.offer));
    let serving_certificate = Arc::new(own(&files.serving_certificate, &provider)?);
    let verifier = match &files.client_ca {
        None => None,
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| wrong(path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            Some(verifier.build().map_err(|error| wrong(path, &error))?)
        }
    };
    let asks = Arc::new(AnyCertificate {
        hints: verifier
            .as_ref()
            .map_or_else(Vec::new, |verifier| verifier.root_hint_subjects().to_vec()),
        provider: provider.clone(),
    });
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(offer::versions(&files.offer))
        .expect("the provider supports the chosen TLS versions");
    let mut config = builder
        .with_client_cert_verifier(asks)
        .with_cert_resolver(serving_certificate.clone());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Clients do a full handshake on each connection, as the API server does anyway: sessions would be stored for
    // unauthenticated clients, each with its client certificates.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Loaded {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        verifier,
        serving_certificate,
    })
}

/// The serving certificate. One signed by the cluster that cannot be used counts as missing: another one will follow.
fn own(serving_certificate: &ServingCertificate, provider: &CryptoProvider) -> Result<Own, TlsError> {
    let Some((certificate, key)) = serving_certificate.pair() else {
        return Ok(Own::NONE);
    };
    match (read(certificate, key, provider), serving_certificate) {
        (Ok(own), ServingCertificate::Signed { .. }) => Ok(own),
        // The expiry of certificates from configured files is the administrator's responsibility.
        (Ok(own), ServingCertificate::Files(..)) => Ok(Own { until: None, ..own }),
        (Err(error), ServingCertificate::Signed { .. }) => {
            tracing::warn!("{error}; connections are rejected until a new certificate is signed");
            Ok(Own::NONE)
        }
        (Err(error), ServingCertificate::Files(..)) => Err(error),
    }
}

fn read(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Own, TlsError> {
    let chain = certificates(certificate)?;
    let until = x509_parser::parse_x509_certificate(&chain[0]).ok();
    let until = until.and_then(|(_, parsed)| u64::try_from(parsed.validity().not_after.timestamp()).ok());
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::File {
        path: key.to_owned(),
        why: error.to_string(),
    })?;
    let key = CertifiedKey::from_der(chain, private, provider).map_err(|source| TlsError::Pair {
        path: certificate.to_owned(),
        source,
    })?;
    Ok(Own {
        key: Some(Arc::new(key)),
        until,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |why: String| TlsError::File {
        path: path.to_owned(),
        why,
    };
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let all: Result<Vec<_>, _> = read.collect();
    let all = all.map_err(|error| wrong(error.to_string()))?;
    match all.is_empty() {
        true => Err(wrong("it contains no certificate".to_owned())),
        false => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(path: &Path, seconds: i64) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["vm".to_owned()]).unwrap();
        let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        params.not_after = std::time::SystemTime::from(until).into();
        let pem = params.self_signed(&key).unwrap().pem();
        fs::write(path, pem + &key.serialize_pem()).unwrap();
    }

    #[test]
    fn what_the_cluster_has_not_signed_or_is_over_is_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (current, before) = (at("current.pem"), at("before.pem"));
        let files = |before: Option<&PathBuf>| Files {
            serving_certificate: ServingCertificate::Signed {
                current: current.clone(),
                before: before.map(|path| (path.clone(), path.clone())),
            },
            client_ca: None,
            offer: TlsOffer::default(),
        };
        let is_shown = |before: Option<&PathBuf>| {
            let loaded = load(&files(before)).unwrap();
            loaded.serving_certificate.is_there(UnixTime::now())
        };
        make(&before, 60);
        assert!(!is_shown(None));
        assert!(is_shown(Some(&before)));
        let none = stamp(&files(None));
        make(&current, 60);
        assert_ne!(stamp(&files(None)), none);
        assert!(is_shown(None));
        make(&current, -60);
        assert!(!is_shown(Some(&before)));
        fs::write(&current, "half a certifi").unwrap();
        assert!(!is_shown(None));
    }

    #[test]
    fn what_somebody_names_must_be_usable_and_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pair.pem");
        let files = Files {
            serving_certificate: ServingCertificate::Files(path.clone(), path.clone()),
            client_ca: None,
            offer: TlsOffer::default(),
        };
        assert!(load(&files).is_err());
        make(&path, -60);
        let serving_certificate = load(&files).unwrap().serving_certificate;
        assert!(serving_certificate.is_there(UnixTime::now()));
    }
}
