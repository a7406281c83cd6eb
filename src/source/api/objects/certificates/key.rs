//! Keys of pods, and the requests that prove them.

use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use crate::model::object::certificate::KeyType;
use crate::source::api::objects::pem;

/// What precedes the seed in an Ed25519 key of PKCS #8's first version (RFC 8410, 7).
const ED25519_V1: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// The same of the second version (RFC 5958, 2), which has the public key after the seed. Older OpenSSL does not read it.
const ED25519_V2: [u8; 16] = [
    0x30, 0x51, 0x02, 0x01, 0x01, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// The bytes of its seed.
const SEED: usize = 32;

/// A key.
pub(super) struct PodKey(KeyPair);

impl PodKey {
    /// Generates one.
    pub(super) fn generate(key_type: &KeyType) -> Result<PodKey, String> {
        let algorithm = match key_type {
            KeyType::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyType::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyType::Ed25519 => &rcgen::PKCS_ED25519,
            KeyType::Other(name) => {
                return Err(format!(
                    "this version of gantry generates no key of type {name}: use ECDSAP256, ECDSAP384 or ED25519"
                ));
            }
        };
        let pair = KeyPair::generate_for(algorithm);
        pair.map(PodKey)
            .map_err(|error| format!("while generating keypair: {error}"))
    }

    /// The key as PEM, of PKCS #8: a secret.
    pub(super) fn pem(&self) -> String {
        let der = self.0.serialized_der();
        let first = der.strip_prefix(&ED25519_V2).and_then(|rest| rest.get(..SEED));
        match first {
            Some(seed) => pem::encoded("PRIVATE KEY", &[&ED25519_V1[..], seed].concat()),
            None => pem::encoded("PRIVATE KEY", der),
        }
    }

    /// A request for a certificate that says nothing but the public key, as DER.
    pub(super) fn stub(&self) -> Result<Vec<u8>, String> {
        let mut nothing = CertificateParams::default();
        nothing.distinguished_name = DistinguishedName::new();
        let request = nothing.serialize_request(&self.0);
        let request = request.map_err(|error| format!("while generating stub PKCS#10 request: {error}"))?;
        Ok(request.der().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::PublicKeyData as _;

    #[test]
    fn a_key_is_read_back_and_its_request_says_nothing_else() {
        for name in ["ECDSAP256", "ECDSAP384", "ED25519"] {
            let key = PodKey::generate(&KeyType::from(name)).unwrap();
            let pem = key.pem();
            assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{name}");
            let stub = key.stub().unwrap();
            let (_, request) = {
                use x509_parser::prelude::FromDer as _;
                x509_parser::certification_request::X509CertificationRequest::from_der(&stub).unwrap()
            };
            request.verify_signature().unwrap();
            let info = &request.certification_request_info;
            assert_eq!(info.subject.iter_rdn().count(), 0, "{name}");
            assert_eq!(info.subject_pki.raw, key.0.subject_public_key_info(), "{name}");
        }
    }

    /// As OpenSSL reads it, and Go (`x509.ParsePKCS8PrivateKey`).
    #[test]
    fn an_ed25519_key_is_of_the_first_version() {
        use base64::Engine as _;
        let pem = PodKey::generate(&KeyType::Ed25519).unwrap().pem();
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
        assert_eq!(der.len(), ED25519_V1.len() + SEED);
        assert_eq!(der[..16], ED25519_V1);
    }

    #[test]
    fn other_types_are_refused_by_their_name() {
        let why = PodKey::generate(&KeyType::from("RSA3072")).err().unwrap();
        assert!(why.contains("RSA3072") && why.contains("ECDSAP256"), "{why}");
    }
}
