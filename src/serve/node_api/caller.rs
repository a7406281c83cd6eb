//! Who calls.

use std::collections::BTreeMap;

use rustls::pki_types::CertificateDer;

/// The group of everybody who is known.
const AUTHENTICATED: &str = "system:authenticated";

/// A user as the API server knows users.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Caller {
    /// The name.
    pub(super) name: String,
    /// The id, where there is one.
    pub(super) uid: Option<String>,
    /// The groups.
    pub(super) groups: Vec<String>,
    /// What else the authenticator told.
    pub(super) extra: BTreeMap<String, Vec<String>>,
}

impl Caller {
    /// Nobody known.
    pub(super) fn anonymous() -> Caller {
        Caller {
            name: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Caller::default()
        }
    }

    /// Known, and so in the group of those.
    pub(super) fn known(mut self) -> Caller {
        if !self.groups.iter().any(|group| group == AUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    /// The subject of a certificate that was verified: its common name, and its organizations as groups.
    /// `None` where it has no name.
    pub(super) fn of_certificate(certificate: &CertificateDer<'_>) -> Option<Caller> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let subject = parsed.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?;
        let groups = subject.iter_organization();
        (!name.is_empty()).then(|| {
            Caller {
                name: name.to_owned(),
                groups: groups
                    .filter_map(|group| group.as_str().ok().map(str::to_owned))
                    .collect(),
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

    #[test]
    fn a_certificates_subject_is_the_user() {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver-kubelet-client");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "kubeadm:cluster-admins");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let caller = Caller::of_certificate(certificate.der()).unwrap();
        assert_eq!(caller.name, "kube-apiserver-kubelet-client");
        assert_eq!(caller.groups, ["kubeadm:cluster-admins", "system:authenticated"]);

        let mut nameless = CertificateParams::default();
        nameless.distinguished_name = rcgen::DistinguishedName::new();
        let certificate = nameless.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(Caller::of_certificate(certificate.der()), None);
    }
}
