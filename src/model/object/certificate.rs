//! What is known of a pod's certificate before there is one: for whom it is, and what is requested of its signer.

use std::collections::BTreeMap;

use crate::model::pod::{PodName, PodUid};

/// The key of a certificate of a pod (KEP-4317).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateKey {
    /// The pod that it is for.
    pub pod: PodName,
    /// The pod's UID: a pod recreated under the same name gets its own certificates.
    pub uid: PodUid,
    /// `spec.serviceAccountName`
    pub account: String,
    /// `spec.nodeName`
    pub node: String,
    /// What is requested.
    pub request: CertificateRequest,
}

/// What a volume requests of a signer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateRequest {
    /// The volume, and the number of the source within it: each has a key of its own.
    pub place: (String, usize),
    /// The signer's name.
    pub signer: String,
    /// The type of the key.
    pub key_type: KeyType,
    /// How long it may be valid at most, in seconds; `None`: the API server's default.
    pub most_seconds: Option<i32>,
    /// What the signer is told, which nobody has verified.
    pub annotations: BTreeMap<String, String>,
}

/// The type of a key, by its name in the API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// `ECDSAP256`
    EcdsaP256,
    /// `ECDSAP384`
    EcdsaP384,
    /// `ED25519`
    Ed25519,
    /// One that this agent cannot generate.
    Other(String),
}

impl From<&str> for KeyType {
    fn from(name: &str) -> KeyType {
        match name {
            "ECDSAP256" => KeyType::EcdsaP256,
            "ECDSAP384" => KeyType::EcdsaP384,
            "ED25519" => KeyType::Ed25519,
            other => KeyType::Other(other.to_owned()),
        }
    }
}
