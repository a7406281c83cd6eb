//! The certificate that the node makes for itself where nobody gave it one, as the kubelet does: it encrypts, and proves
//! nothing. A cluster that wants proof gives one (`tlsCertFile`).

use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};

use super::Files;

/// How long it is valid: a year, the kubelet's.
const LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be written.
    #[error("the node's own certificate cannot be written to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be made: a name that no certificate can hold.
    #[error(
        "no certificate can be made for the node {node:?}: name files with tlsCertFile and tlsPrivateKeyFile"
    )]
    Make {
        /// The node's name.
        node: String,
        /// Why.
        source: rcgen::Error,
    },
}

/// `kubelet.crt` and `kubelet.key` of the directory; made where one of them is missing, or the certificate is over.
pub fn ensure(
    directory: &Path,
    node: &str,
    addresses: &[IpAddr],
    now: Timestamp,
) -> Result<Files, CertificateError> {
    let files = Files {
        certificate: directory.join("kubelet.crt"),
        key: directory.join("kubelet.key"),
        client_ca: None,
    };
    if files.key.exists() && is_valid(&files.certificate, now) {
        return Ok(files);
    }
    let make = |source| CertificateError::Make {
        node: node.to_owned(),
        source,
    };
    let key = KeyPair::generate().map_err(make)?;
    let certificate = parameters(node, addresses, now)
        .and_then(|parameters| parameters.self_signed(&key))
        .map_err(make)?;
    let write = |path: &Path, text: &str, mode: u32| {
        write_private(path, text, mode).map_err(|source| CertificateError::Write {
            path: path.to_owned(),
            source,
        })
    };
    // The certificate goes last: without it both are made anew.
    write(&files.key, &key.serialize_pem(), 0o600)?;
    write(&files.certificate, &certificate.pem(), 0o644)?;
    Ok(files)
}

fn parameters(node: &str, addresses: &[IpAddr], now: Timestamp) -> Result<CertificateParams, rcgen::Error> {
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
    // A clock that is behind elsewhere is no reason to be refused.
    parameters.not_before = midnight(now - SignedDuration::from_hours(24));
    parameters.not_after = midnight(now + LIFE);
    Ok(parameters)
}

/// Whether the file holds a certificate that holds for another day at least.
fn is_valid(path: &Path, now: Timestamp) -> bool {
    let Ok(pem) = fs::read(path) else { return false };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(&pem) else {
        return false;
    };
    pem.parse_x509().is_ok_and(|certificate| {
        let soon = now.as_second() + 24 * 3600;
        certificate.validity().not_after.timestamp() > soon
    })
}

/// Written beside and renamed, so that nobody reads half of it.
fn write_private(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)?;
    }
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_is_made_once_and_again_when_it_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let pki = directory.path().join("pki");
        let now = Timestamp::now();
        let address = ["192.0.2.7".parse().unwrap()];
        let files = ensure(&pki, "vm", &address, now).unwrap();
        let first = fs::read(&files.certificate).unwrap();
        let mode = fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        ensure(&pki, "vm", &address, now).unwrap();
        assert_eq!(fs::read(&files.certificate).unwrap(), first);

        let later = now + LIFE;
        ensure(&pki, "vm", &address, later).unwrap();
        let second = fs::read(&files.certificate).unwrap();
        assert_ne!(second, first);
        fs::remove_file(&files.key).unwrap();
        ensure(&pki, "vm", &address, later).unwrap();
        assert_ne!(fs::read(&files.certificate).unwrap(), second);
    }

    #[test]
    fn it_is_for_the_nodes_name_and_addresses() {
        let now = Timestamp::now();
        let made = parameters("vm", &["192.0.2.7".parse().unwrap()], now).unwrap();
        let certificate = made.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate.der()).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 2);
    }
}
