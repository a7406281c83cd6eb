//! The identity of the caller.

use std::collections::BTreeMap;

use rustls::pki_types::CertificateDer;

/// The group of all authenticated users.
const AUTHENTICATED: &str = "system:authenticated";

/// A user as the API server represents it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Caller {
    /// The name.
    pub(super) name: String,
    /// The ID, if there is one.
    pub(super) uid: Option<String>,
    /// The groups.
    pub(super) groups: Vec<String>,
    /// Extra attributes from the authenticator.
    pub(super) extra: BTreeMap<String, Vec<String>>,
}

impl Caller {
    /// The anonymous user.
    pub(super) fn anonymous() -> Caller {
        Caller {
            name: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Caller::default()
        }
    }

    /// Marks the user as authenticated by adding it to that group.
    pub(super) fn known(mut self) -> Caller {
        if !self.groups.iter().any(|group| group == AUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    /// The subject of a verified certificate: the last of its common names, as in Go's `pkix.Name.FillFromRDNSequence`,
    /// and all its organizations as groups. `None` if it has no name, or if one of these cannot be parsed: an earlier
    /// one is not used in its place.
    pub(super) fn of_certificate(certificate: &CertificateDer<'_>) -> Option<Caller> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let subject = parsed.subject();
        let name = subject.iter_common_name().last()?.as_str().ok()?;
        let groups: Result<Vec<String>, _> = subject
            .iter_organization()
            .map(|group| group.as_str().map(str::to_owned))
            .collect();
        let groups = groups.ok()?;
        (!name.is_empty()).then(|| {
            Caller {
                name: name.to_owned(),
                groups,
                ..Caller::default()
            }
            .known()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    const COMMON_NAME: [u8; 3] = [0x55, 4, 3];
    const ORGANIZATION: [u8; 3] = [0x55, 4, 10];
    const UTF8: u8 = 0x0c;
    /// `TeletexString`, which Go supports and this parser does not.
    const TELETEX: u8 = 0x14;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        assert!(length < 128);
        [&[tag, length], content].concat()
    }

    /// A relative name of one attribute.
    fn name(of: [u8; 3], tag: u8, value: &str) -> Vec<u8> {
        let attribute = [der(6, &of), der(tag, value.as_bytes())].concat();
        der(0x31, &der(0x30, &attribute))
    }

    /// A certificate with this subject. rcgen writes each attribute once, and so the subject is put in the place of one
    /// of the same length.
    fn certificate(subject: &[Vec<u8>]) -> CertificateDer<'static> {
        let subject = der(0x30, &subject.concat());
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        // The two sequences and the set around the value, and its type, take eleven bytes.
        let filling = "x".repeat(subject.len() - 13);
        params
            .distinguished_name
            .push(DnType::CommonName, filling.as_str());
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let standing = der(0x30, &name(COMMON_NAME, UTF8, &filling));
        assert_eq!(standing.len(), subject.len());
        let mut bytes = made.der().to_vec();
        // The issuer comes first.
        let at = bytes
            .windows(standing.len())
            .rposition(|part| part == standing)
            .unwrap();
        bytes[at..at + subject.len()].copy_from_slice(&subject);
        bytes.into()
    }

    #[test]
    fn a_certificates_subject_is_the_user_as_in_go() {
        let check = |subject: &[Vec<u8>], wanted: Option<(&str, &[&str])>| {
            let caller = Caller::of_certificate(&certificate(subject));
            let caller = caller.map(|caller| (caller.name, caller.groups));
            let wanted = wanted.map(|(name, groups)| {
                let groups = groups.iter().map(|group| (*group).to_owned());
                (name.to_owned(), groups.collect::<Vec<_>>())
            });
            assert_eq!(caller, wanted);
        };
        let common = |value| name(COMMON_NAME, UTF8, value);
        let organization = |value| name(ORGANIZATION, UTF8, value);
        check(
            &[
                common("kube-apiserver-kubelet-client"),
                organization("kubeadm:cluster-admins"),
            ],
            Some((
                "kube-apiserver-kubelet-client",
                &["kubeadm:cluster-admins", "system:authenticated"],
            )),
        );
        check(
            &[
                common("system:admin"),
                organization("a"),
                common("eve"),
                organization("b"),
            ],
            Some(("eve", &["a", "b", "system:authenticated"])),
        );
        check(&[common("system:admin"), common("")], None);
        check(&[common("system:admin"), name(COMMON_NAME, TELETEX, "eve")], None);
        check(&[common("eve"), name(ORGANIZATION, TELETEX, "nobody")], None);
        check(&[organization("system:masters and others")], None);
    }

    #[test]
    fn without_a_subject_there_is_no_user() {
        let mut nameless = CertificateParams::default();
        nameless.distinguished_name = rcgen::DistinguishedName::new();
        let certificate = nameless.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(Caller::of_certificate(certificate.der()), None);
    }
}
