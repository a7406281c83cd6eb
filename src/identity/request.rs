//! The certificate signing request and its state. Pure.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, PublicKeyData as _,
    SanType,
};
use sha2::{Digest as _, Sha512_256};

use super::key::Key;

/// The group of all nodes.
pub(super) const GROUP: &str = "system:nodes";

/// The purpose of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A client certificate for the API server.
    Client,
    /// A serving certificate for the node's port.
    Serving {
        /// The node's names.
        names: Vec<String>,
        /// The node's addresses.
        addresses: Vec<IpAddr>,
    },
}

impl Purpose {
    fn signer(&self) -> &'static str {
        match self {
            Purpose::Client => "kubernetes.io/kube-apiserver-client-kubelet",
            Purpose::Serving { .. } => "kubernetes.io/kubelet-serving",
        }
    }

    /// The usages that the kubelet requests for an ECDSA key; the signers allow no others.
    fn usages(&self) -> [&'static str; 2] {
        match self {
            Purpose::Client => ["digital signature", "client auth"],
            Purpose::Serving { .. } => ["digital signature", "server auth"],
        }
    }

    fn alternatives(&self) -> Result<Vec<SanType>, rcgen::Error> {
        let Purpose::Serving { names, addresses } = self else {
            return Ok(Vec::new());
        };
        let names = names
            .iter()
            .map(|name| Ok(SanType::DnsName(name.as_str().try_into()?)));
        let addresses = addresses.iter().map(|address| Ok(SanType::IpAddress(*address)));
        names.chain(addresses).collect()
    }
}

/// The certificate signing request for this key. Its name is derived from everything in it, as the kubelet's is
/// (`digestedName` of `pkg/kubelet/certificate/bootstrap`): repeating the same request finds the existing object.
pub fn request(key: &Key, node: &str, purpose: &Purpose) -> Result<CertificateSigningRequest, rcgen::Error> {
    let common_name = format!("system:node:{node}");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, GROUP);
    params
        .distinguished_name
        .push(DnType::CommonName, common_name.as_str());
    params.subject_alt_names = purpose.alternatives()?;
    let text = params.serialize_request(key.pair())?.pem()?;
    Ok(CertificateSigningRequest {
        metadata: ObjectMeta {
            name: Some(name(key, &common_name, purpose)),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(text.into_bytes()),
            signer_name: purpose.signer().to_owned(),
            usages: Some(purpose.usages().map(str::to_owned).to_vec()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    })
}

fn name(key: &Key, common_name: &str, purpose: &Purpose) -> String {
    let mut digest = Sha512_256::new();
    let mut add = |part: &[u8]| {
        // The delimiter is not in the alphabet, so that two parts are never taken for one.
        digest.update(URL_SAFE_NO_PAD.encode(part));
        digest.update(b"|");
    };
    add(&key.public());
    add(common_name.as_bytes());
    add(GROUP.as_bytes());
    for usage in purpose.usages() {
        add(usage.as_bytes());
    }
    if let Purpose::Serving { names, addresses } = purpose {
        names.iter().for_each(|name| add(name.as_bytes()));
        addresses
            .iter()
            .for_each(|address| add(address.to_string().as_bytes()));
    }
    format!("node-csr-{}", URL_SAFE_NO_PAD.encode(digest.finalize()))
}

/// Whether an existing request with this name is this node's: the same signer, and signed with this key.
pub fn is_ours(there: &CertificateSigningRequest, asked: &CertificateSigningRequest, key: &Key) -> bool {
    let read = |request: &CertificateSigningRequest| {
        let text = std::str::from_utf8(&request.spec.request.0).ok()?;
        CertificateSigningRequestParams::from_pem(text).ok()
    };
    there.spec.signer_name == asked.spec.signer_name
        && read(there).is_some_and(|read| read.public_key.subject_public_key_info() == key.public())
}

/// The state of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is not approved or denied yet, or not signed yet.
    Waiting,
    /// It was denied; the reason.
    Denied(String),
    /// The signer failed; the reason.
    Failed(String),
    /// The certificate, as PEM.
    Issued(Vec<u8>),
}

/// The state of a certificate signing request.
pub fn answer(request: &CertificateSigningRequest) -> Answer {
    let Some(status) = &request.status else {
        return Answer::Waiting;
    };
    for condition in status
        .conditions
        .iter()
        .flatten()
        .filter(|condition| condition.status != "False")
    {
        let said = [&condition.reason, &condition.message];
        let said: Vec<&str> = said
            .into_iter()
            .flatten()
            .map(String::as_str)
            .filter(|text| !text.is_empty())
            .collect();
        match condition.type_.as_str() {
            "Denied" => return Answer::Denied(said.join(": ")),
            "Failed" => return Answer::Failed(said.join(": ")),
            _ => {}
        }
    }
    match &status.certificate {
        Some(certificate) if !certificate.0.is_empty() => Answer::Issued(certificate.0.clone()),
        _ => Answer::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::prelude::FromDer as _;

    use super::*;

    #[test]
    fn what_is_asked_for() {
        let key = Key::generate().unwrap();
        let asked = request(&key, "n", &Purpose::Client).unwrap();
        assert_eq!(
            asked.spec.signer_name,
            "kubernetes.io/kube-apiserver-client-kubelet"
        );
        assert_eq!(
            asked.spec.usages.as_ref().unwrap()[..],
            ["digital signature", "client auth"]
        );
        let pem = x509_parser::pem::Pem::iter_from_buffer(&asked.spec.request.0)
            .next()
            .unwrap()
            .unwrap();
        assert_eq!(pem.label, "CERTIFICATE REQUEST");
        let (_, read) = X509CertificationRequest::from_der(&pem.contents).unwrap();
        read.verify_signature().unwrap();
        let subject = &read.certification_request_info.subject;
        assert_eq!(subject.to_string(), "O=system:nodes, CN=system:node:n");
        // The signer of client certificates would reject a subject alternative name.
        assert!(
            read.requested_extensions()
                .is_none_or(|mut some| some.next().is_none())
        );
    }

    #[test]
    fn a_serving_certificate_has_names_and_addresses() {
        let key = Key::generate().unwrap();
        let purpose = Purpose::Serving {
            names: vec!["n".to_owned(), "n.example.org".to_owned()],
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        };
        let asked = request(&key, "n", &purpose).unwrap();
        assert_eq!(asked.spec.signer_name, "kubernetes.io/kubelet-serving");
        let text = std::str::from_utf8(&asked.spec.request.0).unwrap();
        let read = CertificateSigningRequestParams::from_pem(text).unwrap();
        assert_eq!(read.params.subject_alt_names.len(), 4);
        assert_ne!(
            asked.metadata.name,
            request(&key, "n", &Purpose::Client).unwrap().metadata.name
        );
    }

    #[test]
    fn the_name_follows_from_what_is_asked() {
        let (key, other) = (Key::generate().unwrap(), Key::generate().unwrap());
        let ask = |key: &Key, node: &str| request(key, node, &Purpose::Client).unwrap();
        let first = ask(&key, "n");
        let again = ask(&key, "n");
        assert_eq!(first.metadata.name, again.metadata.name);
        assert_ne!(first.metadata.name, ask(&key, "m").metadata.name);
        assert_ne!(first.metadata.name, ask(&other, "n").metadata.name);
        assert!(is_ours(&first, &again, &key));
        assert!(!is_ours(&ask(&other, "n"), &again, &key));
    }

    fn check(status: serde_json::Value, expected: Answer) {
        let request = json!({"metadata": {}, "spec": {"request": "", "signerName": "s"}, "status": status});
        assert_eq!(answer(&serde_json::from_value(request).unwrap()), expected);
    }

    #[test]
    fn answers() {
        let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "R", "message": "m"});
        check(json!({}), Answer::Waiting);
        check(json!({"conditions": [condition("Approved")]}), Answer::Waiting);
        check(
            json!({"conditions": [condition("Denied")]}),
            Answer::Denied("R: m".to_owned()),
        );
        check(
            json!({"conditions": [condition("Approved"), condition("Failed")]}),
            Answer::Failed("R: m".to_owned()),
        );
        check(
            json!({"conditions": [condition("Approved")], "certificate": "cGVt"}),
            Answer::Issued(b"pem".to_vec()),
        );
    }
}
