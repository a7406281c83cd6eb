//! The TLS settings of the node's port: versions, cipher suites, key exchanges.

/// A version of TLS that the port may use. Older ones are never offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// TLS 1.2
    #[default]
    Tls12,
    /// TLS 1.3
    Tls13,
}

/// A cipher suite of TLS 1.2. Those of TLS 1.3 cannot be configured, as in Go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are the registry's, and so is what they mean
pub enum CipherSuite {
    EcdheEcdsaAes128Gcm,
    EcdheEcdsaAes256Gcm,
    EcdheEcdsaChacha20,
    EcdheRsaAes128Gcm,
    EcdheRsaAes256Gcm,
    EcdheRsaChacha20,
}

/// A group in which keys are exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Curve {
    /// X25519
    X25519,
    /// NIST P-256
    P256,
    /// NIST P-384
    P384,
}

/// What the port offers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOffer {
    /// The oldest version.
    pub minimum: TlsVersion,
    /// The cipher suites of TLS 1.2; `None`: all. An empty list disables TLS 1.2.
    pub suites: Option<Vec<CipherSuite>>,
    /// These alone; `None`: all.
    pub curves: Option<Vec<Curve>>,
}
