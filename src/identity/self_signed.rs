//! The certificate that the node creates for itself if none is configured, as the kubelet does: it encrypts but proves
//! nothing. A cluster that needs proof configures one (`tlsCertFile`).

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};

use super::certificate::certificates;
use super::files::{self, FileError};

/// Its validity: a year, as the kubelet's.
const LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum SelfSignedError {
    /// It cannot be written.
    #[error("cannot store the node's self-signed certificate")]
    File(#[from] FileError),
    /// It cannot be created: a certificate cannot hold the name.
    #[error("cannot create a certificate for the node {node:?}; set tlsCertFile and tlsPrivateKeyFile")]
    Make {
        /// The node's name.
        node: String,
        /// Why.
        source: rcgen::Error,
    },
}

/// The paths of a certificate and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// The paths of the certificate and its key below that directory, in this order.
pub fn paths(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join("kubelet.crt"), directory.join("kubelet.key"))
}

/// [`paths`] of the directory; created if one of them is missing or the certificate has expired.
pub fn ensure(
    directory: &Path,
    node: &str,
    addresses: &[IpAddr],
    now: Timestamp,
) -> Result<(PathBuf, PathBuf), SelfSignedError> {
    let (certificate, key) = paths(directory);
    let pair = Pair { certificate, key };
    ensure_pair(&pair, node, addresses, now, LIFE)?;
    Ok((pair.certificate, pair.key))
}

/// Makes the pair, valid for `life`, if one of its files is missing or the certificate has expired.
pub fn ensure_pair(
    pair: &Pair,
    node: &str,
    addresses: &[IpAddr],
    now: Timestamp,
    life: SignedDuration,
) -> Result<(), SelfSignedError> {
    if pair.key.exists() && is_valid(&pair.certificate, now) {
        return Ok(());
    }
    let make = |source| SelfSignedError::Make {
        node: node.to_owned(),
        source,
    };
    let key = KeyPair::generate().map_err(make)?;
    let certificate = parameters(node, addresses, now, life)
        .and_then(|parameters| parameters.self_signed(&key))
        .map_err(make)?;
    // The certificate is written last: without it both are created again.
    files::write(&pair.key, key.serialize_pem().as_bytes(), files::SECRET)?;
    files::write(&pair.certificate, certificate.pem().as_bytes(), files::PUBLIC)?;
    Ok(())
}

fn parameters(
    node: &str,
    addresses: &[IpAddr],
    now: Timestamp,
    life: SignedDuration,
) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(vec![node.to_owned()])?;
    let addresses = addresses.iter().copied().map(SanType::IpAddress);
    parameters.subject_alt_names.extend(addresses);
    parameters.distinguished_name = DistinguishedName::new();
    let name = format!("{node}@{}", now.as_second());
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let midnight = |at: Timestamp| {
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        rcgen::date_time_ymd(date.year().into(), month, day)
    };
    // A client whose clock is behind must not reject it.
    parameters.not_before = midnight(now - SignedDuration::from_hours(24));
    parameters.not_after = midnight(now + life);
    Ok(parameters)
}

/// Whether the file holds a certificate that is valid for at least another day.
fn is_valid(path: &Path, now: Timestamp) -> bool {
    let read = files::read(path).ok().flatten();
    let found = read.and_then(|pem| certificates(&pem).ok());
    let soon = now + SignedDuration::from_hours(24);
    found.is_some_and(|found| found.first().is_some_and(|first| !first.is_over(soon)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    #[test]
    fn it_is_made_once_and_again_when_it_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let pki = directory.path().join("pki");
        let now = Timestamp::now();
        let address = ["192.0.2.7".parse().unwrap()];
        let (certificate, key) = ensure(&pki, "vm", &address, now).unwrap();
        let first = fs::read(&certificate).unwrap();
        let mode = fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        ensure(&pki, "vm", &address, now).unwrap();
        assert_eq!(fs::read(&certificate).unwrap(), first);

        let later = now + LIFE;
        ensure(&pki, "vm", &address, later).unwrap();
        let second = fs::read(&certificate).unwrap();
        assert_ne!(second, first);
        fs::remove_file(&key).unwrap();
        ensure(&pki, "vm", &address, later).unwrap();
        assert_ne!(fs::read(&certificate).unwrap(), second);
    }

    #[test]
    fn it_is_for_the_nodes_name_and_addresses() {
        let now = Timestamp::now();
        let made = parameters("vm", &["192.0.2.7".parse().unwrap()], now, LIFE).unwrap();
        let certificate = made.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate.der()).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 2);
    }

    #[test]
    fn a_client_that_trusts_it_accepts_it() {
        let directory = tempfile::tempdir().unwrap();
        let address = ["192.0.2.7".parse().unwrap()];
        let (certificate, _) = ensure(directory.path(), "vm", &address, Timestamp::now()).unwrap();
        let found = certificates(&fs::read(certificate).unwrap()).unwrap();
        let der = CertificateDer::from(found[0].der());
        let mut roots = RootCertStore::empty();
        roots.add(der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let client = client.build().unwrap();
        for name in ["vm", "192.0.2.7"] {
            let name = ServerName::try_from(name).unwrap();
            let accepted = client.verify_server_cert(&der, &[], &name, &[], UnixTime::now());
            assert!(accepted.is_ok(), "{name:?}: {accepted:?}");
        }
        let another = ServerName::try_from("another").unwrap();
        let accepted = client.verify_server_cert(&der, &[], &another, &[], UnixTime::now());
        assert!(accepted.is_err(), "{accepted:?}");
    }
}
