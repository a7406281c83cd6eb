//! The parts of an X.509 certificate that matter here. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;

/// The text is not a PEM list of certificates.
#[derive(Debug, thiserror::Error)]
pub enum NotCertificates {
    /// It is not PEM.
    #[error("this is not PEM text")]
    Pem(#[source] x509_parser::error::PEMError),
    /// A block labeled as a certificate is not a valid one.
    #[error("a PEM block is not a valid certificate")]
    Der(#[source] x509_parser::error::X509Error),
    /// A time in it is out of range.
    #[error("its validity period is invalid")]
    Time,
}

/// A certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The start of its validity.
    pub not_before: Timestamp,
    /// The end of its validity.
    pub not_after: Timestamp,
    /// The subject's common name; empty if there is none.
    pub common_name: String,
    der: Vec<u8>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("common_name", &self.common_name)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The certificates of a PEM text, in order; other blocks are skipped.
pub fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, NotCertificates> {
    let mut found = Vec::new();
    for block in Pem::iter_from_buffer(pem) {
        let block = block.map_err(NotCertificates::Pem)?;
        if block.label == "CERTIFICATE" {
            found.push(Certificate::read(block.contents)?);
        }
    }
    Ok(found)
}

impl Certificate {
    fn read(der: Vec<u8>) -> Result<Certificate, NotCertificates> {
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| {
            NotCertificates::Der(match error {
                x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error) => error,
                x509_parser::nom::Err::Incomplete(_) => x509_parser::error::X509Error::InvalidCertificate,
            })
        })?;
        let time = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|_| NotCertificates::Time)
        };
        let common_name = parsed.subject().iter_common_name().next();
        let common_name = common_name
            .and_then(|name| name.as_str().ok())
            .unwrap_or_default();
        let validity = parsed.validity();
        Ok(Certificate {
            not_before: time(validity.not_before)?,
            not_after: time(validity.not_after)?,
            common_name: common_name.to_owned(),
            der,
        })
    }

    /// Its DER encoding.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether it has expired.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.not_after
    }

    /// Whether one of these signed it; checks names and signatures, not times and usages.
    pub fn is_signed_by(&self, authorities: &[Certificate]) -> bool {
        self.reads(|own| {
            authorities.iter().any(|authority| {
                authority.reads(|authority| {
                    own.issuer() == authority.subject()
                        && own.verify_signature(Some(authority.public_key())).is_ok()
                })
            })
        })
    }

    /// The public key as DER, a SubjectPublicKeyInfo.
    pub fn public_key(&self) -> Vec<u8> {
        match X509Certificate::from_der(&self.der) {
            Ok((_, parsed)) => parsed.public_key().raw.to_vec(),
            Err(_) => Vec::new(),
        }
    }

    /// The subject's organizations: groups, as Kubernetes reads them.
    pub fn organizations(&self) -> BTreeSet<String> {
        self.reads(|own| {
            let organizations = own.subject().iter_organization();
            let organizations = organizations.filter_map(|name| name.as_str().ok());
            organizations.map(str::to_owned).collect()
        })
    }

    /// Its subject alternative names and addresses.
    pub fn alternatives(&self) -> (BTreeSet<String>, BTreeSet<IpAddr>) {
        self.reads(|own| {
            let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
            let stated = own.subject_alternative_name().ok().flatten();
            for name in stated.iter().flat_map(|stated| &stated.value.general_names) {
                match name {
                    GeneralName::DNSName(name) => {
                        names.insert((*name).to_owned());
                    }
                    GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                    _ => {}
                }
            }
            (names, addresses)
        })
    }

    /// SHA-256 of the whole.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.der).into()
    }

    fn reads<T: Default>(&self, read: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
        // It was parsed before, so it parses again.
        X509Certificate::from_der(&self.der).map_or_else(|_| T::default(), |(_, parsed)| read(&parsed))
    }
}

/// Four bytes or sixteen.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    four.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

#[cfg(test)]
pub(super) mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
    };

    use super::*;
    use crate::identity::key::Key;
    use crate::identity::request::{Purpose, request};

    /// A certificate authority of a test's own.
    pub(in crate::identity) struct Authority {
        pub(in crate::identity) pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Authority {
        pub(in crate::identity) fn new(name: &str) -> Authority {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let pem = params.self_signed(&key).unwrap().pem();
            Authority {
                pem,
                issuer: Issuer::new(params, key),
            }
        }

        /// A certificate and its key, as PEM, valid between these seconds around now.
        pub(in crate::identity) fn issue(&self, name: &str, from: i64, to: i64) -> (String, String) {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.not_before = at(from).into();
            params.not_after = at(to).into();
            let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
            (pem, key.serialize_pem())
        }
    }

    impl Authority {
        /// A certificate for a node to serve with, as PEM.
        pub(in crate::identity) fn serving(&self, node: &str, purpose: &Purpose, life: (i64, i64)) -> String {
            let asked = request(&Key::generate().unwrap(), node, purpose).unwrap();
            let asked = std::str::from_utf8(&asked.spec.request.0).unwrap();
            let mut asked = CertificateSigningRequestParams::from_pem(asked).unwrap();
            asked.params.not_before = at(life.0).into();
            asked.params.not_after = at(life.1).into();
            asked.signed_by(&self.issuer).unwrap().pem()
        }
    }

    fn at(seconds: i64) -> std::time::SystemTime {
        std::time::SystemTime::now() + std::time::Duration::from_secs(1 << 32)
            - std::time::Duration::from_secs(u64::try_from((1_i64 << 32) - seconds).unwrap())
    }

    #[test]
    fn what_it_is_for() {
        let purpose = Purpose::Serving {
            names: vec!["n".to_owned(), "n.example.org".to_owned()],
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        };
        let pem = Authority::new("ca").serving("n", &purpose, (-60, 60));
        let leaf = certificates(pem.as_bytes()).unwrap().remove(0);
        let (names, addresses) = leaf.alternatives();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["n", "n.example.org"]);
        let addresses_found: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses_found, ["192.0.2.1", "2001:db8::1"]);
        assert!(leaf.organizations().contains("system:nodes"));
        let (pem, _) = Authority::new("ca").issue("n", -60, 60);
        let leaf = certificates(pem.as_bytes()).unwrap().remove(0);
        assert_eq!(leaf.alternatives(), Default::default());
        assert!(leaf.organizations().is_empty());
    }

    #[test]
    fn what_a_certificate_tells() {
        let (ours, others) = (Authority::new("ours"), Authority::new("ours"));
        let (pem, key) = ours.issue("system:node:n", -60, 60);
        let found = certificates(format!("{key}{pem}").as_bytes()).unwrap();
        let [leaf] = &found[..] else { panic!("{found:?}") };
        assert_eq!(leaf.common_name, "system:node:n");
        let now = Timestamp::now();
        assert!(!leaf.is_over(now));
        assert!(leaf.is_over(now + jiff::SignedDuration::from_secs(61)));
        let read = |authority: &Authority| certificates(authority.pem.as_bytes()).unwrap();
        assert!(leaf.is_signed_by(&read(&ours)));
        // The name alone proves nothing.
        assert!(!leaf.is_signed_by(&read(&others)));
        assert_ne!(leaf.public_key(), read(&ours)[0].public_key());
        assert!(certificates(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
    }
}
