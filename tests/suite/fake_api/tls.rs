//! The fake API server over TLS, where it knows who asks: by a client certificate, which it accepts from any client and
//! then judges, as the real one does, or by a token.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::http::HeaderMap;
use axum::serve::{IncomingStream, Listener};
use gantry::identity::certificate::{Certificate, certificates};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::authority::Authority;

/// Who is at the other end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer(pub Option<Vec<u8>>);

/// Connections whose handshake is done.
pub(super) struct Tls {
    done: mpsc::UnboundedReceiver<TlsStream<TcpStream>>,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Peer) {
        let stream = self.done.recv().await.expect("the listener lives on");
        let shown = stream.get_ref().1.peer_certificates();
        let peer = Peer(shown.and_then(|chain| chain.first()).map(|leaf| leaf.to_vec()));
        (stream, peer)
    }

    fn local_addr(&self) -> std::io::Result<Peer> {
        Ok(Peer::default())
    }
}

impl Connected<IncomingStream<'_, Tls>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Tls>) -> Peer {
        stream.remote_addr().clone()
    }
}

/// Listens with a certificate of this authority.
pub(super) async fn listen(authority: &Authority) -> (Tls, SocketAddr) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (chain, key) = authority.issue("apiserver", &["127.0.0.1", "localhost"], (-60, 3600));
    let config = ServerConfig::builder()
        .with_client_cert_verifier(Arc::new(Anybody))
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, done) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                // A client that does not trust us goes away.
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = sender.send(stream);
                }
            });
        }
    });
    (Tls { done }, address)
}

/// Who asks: `Ok(None)` is an anonymous client, an error is a client with wrong credentials.
pub(super) fn user(
    authority: &Authority,
    peer: &Peer,
    tokens: &[String],
    headers: &HeaderMap,
) -> Result<Option<String>, ()> {
    if let Some(shown) = &peer.0 {
        let leaf = read(shown).ok_or(())?;
        let known = certificates(authority.pem.as_bytes()).unwrap();
        let valid = leaf.is_signed_by(&known) && !leaf.is_over(jiff::Timestamp::now());
        return if valid {
            Ok(Some(leaf.common_name))
        } else {
            Err(())
        };
    }
    let Some(header) = headers.get("authorization") else {
        return Ok(None);
    };
    let token = header.to_str().unwrap().trim_start_matches("Bearer ");
    let known = tokens.iter().any(|known| known == token);
    if known {
        Ok(Some(format!("token:{token}")))
    } else {
        Err(())
    }
}

fn read(der: &[u8]) -> Option<Certificate> {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    certificates(pem.as_bytes()).ok()?.into_iter().next()
}

/// Takes every certificate whose key the other end has.
#[derive(Debug)]
struct Anybody;

fn algorithms() -> rustls::crypto::WebPkiSupportedAlgorithms {
    rustls::crypto::ring::default_provider().signature_verification_algorithms
}

impl ClientCertVerifier for Anybody {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}
