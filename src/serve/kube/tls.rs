//! TLS with the endpoint's own certificate, which its clients have in their kubeconfig.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::access::Credentials;
use crate::serve::port::{Agreed, Transport};

/// Why the endpoint for kubectl cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum KubectlTlsError {
    /// A file is damaged.
    #[error(
        "the {what} of the kubectl endpoint is not PEM; remove the directory kubectl of the state directory"
    )]
    Pem {
        /// Which file.
        what: &'static str,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The key is another one's.
    #[error(
        "the certificate of the kubectl endpoint cannot be used; remove the directory kubectl of the state directory"
    )]
    Pair(#[from] rustls::Error),
}

/// The layer below HTTP.
#[derive(Clone)]
pub(super) struct Tls(TlsAcceptor);

impl Tls {
    pub(super) fn new(credentials: &Credentials) -> Result<Tls, KubectlTlsError> {
        let wrong = |what| move |source| KubectlTlsError::Pem { what, source };
        let certificate = CertificateDer::from_pem_slice(&credentials.certificate);
        let certificate = certificate.map_err(wrong("certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&credentials.key).map_err(wrong("key"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider supports the default TLS versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Nothing is remembered about clients that are not authenticated yet.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Tls(TlsAcceptor::from(Arc::new(config))))
    }
}

impl Transport for Tls {
    type Io = TlsStream<TcpStream>;
    type Peer = ();

    async fn agree(&self, stream: TcpStream, address: SocketAddr) -> Option<Agreed<Self::Io, ()>> {
        match self.0.accept(stream).await {
            Ok(io) => Some(Agreed {
                io,
                peer: (),
                is_known: false,
            }),
            Err(error) => {
                tracing::debug!(%address, %error, "TLS handshake of a kubectl failed");
                None
            }
        }
    }
}
