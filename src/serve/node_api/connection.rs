//! TLS: connections with callers, and what they show of themselves.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::server::TlsStream;

use super::caller::Caller;
use super::shown::{Files, Loaded, Stamp, TlsError, load, stamp};

/// How long a caller may take to agree on a connection, and how many may be at it at once.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HANDSHAKES: usize = 128;

/// Takes any certificate whose key the caller has. Whose it is is asked afterwards, as the kubelet does: who shows a
/// certificate of another CA may still have a token.
#[derive(Debug)]
pub(super) struct AnyCertificate {
    pub(super) hints: Vec<DistinguishedName>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn client_auth_mandatory(&self) -> bool {
        false
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
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// What it showed, its own certificate first.
    chain: Arc<Vec<CertificateDer<'static>>>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl Peer {
    /// Who it is by its certificate, which holds now: a connection may outlive it.
    pub(super) fn caller(&self) -> Option<Caller> {
        let (own, rest) = self.chain.split_first()?;
        let verifier = self.verifier.as_ref()?;
        verifier.verify_client_cert(own, rest, UnixTime::now()).ok()?;
        Caller::of_certificate(own)
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Connections on which both sides have agreed.
pub(super) struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, Peer)>,
    _accepting: tokio::task::JoinSet<()>,
}

impl TlsListener {
    /// Reads the files, and begins to accept.
    pub(super) fn new(listener: TcpListener, files: Files) -> Result<TlsListener, TlsError> {
        let stamp = stamp(&files);
        let loaded = load(&files)?;
        let (sender, ready) = mpsc::channel(1);
        let mut accepting = tokio::task::JoinSet::new();
        accepting.spawn(accept(listener, files, (stamp, loaded), sender));
        Ok(TlsListener {
            ready,
            _accepting: accepting,
        })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // The accepting task lives as long as this.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Peer {
            chain: Arc::default(),
            verifier: None,
        })
    }
}

async fn accept(
    mut listener: TcpListener,
    files: Files,
    (mut known, mut loaded): (Stamp, Loaded),
    ready: mpsc::Sender<(TlsStream<TcpStream>, Peer)>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    let mut handshakes = tokio::task::JoinSet::new();
    let mut lack_is_told = false;
    loop {
        while handshakes.try_join_next().is_some() {}
        let (stream, address): (TcpStream, SocketAddr) = Listener::accept(&mut listener).await;
        let now = stamp(&files);
        if now != known {
            match load(&files) {
                Ok(fresh) => loaded = fresh,
                Err(error) => tracing::warn!("{error}; what was read before stays in force"),
            }
            known = now;
        }
        let lacks = !loaded.shown.is_there(UnixTime::now());
        if lacks && !lack_is_told {
            // Said once: monitoring calls again and again.
            tracing::warn!(
                %address,
                "a caller gets no connection: the node has no certificate to serve with yet; see `kubectl get csr`, \
                 and approve the one of kubernetes.io/kubelet-serving where nobody does"
            );
        }
        lack_is_told = lacks;
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let Loaded {
            acceptor, verifier, ..
        } = loaded.clone();
        let ready = ready.clone();
        handshakes.spawn(async move {
            let agreed = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
            drop(place);
            match agreed {
                Ok(Ok(stream)) => {
                    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                    let chain = Arc::new(chain.iter().map(|c| c.clone().into_owned()).collect());
                    // The server may have ended.
                    let _ = ready.send((stream, Peer { chain, verifier })).await;
                }
                Ok(Err(error)) => tracing::debug!(%address, %error, "no TLS with a caller"),
                Err(_) => tracing::debug!(%address, "a caller did not finish the handshake"),
            }
        });
    }
}
