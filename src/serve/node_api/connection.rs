//! TLS: as whom the node shows itself, and what callers show of themselves.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::caller::Caller;

/// How long a caller may take to agree on a connection, and how many may be at it at once.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HANDSHAKES: usize = 128;

/// The files of the node's TLS. They are looked at when somebody calls, and read again when they changed.
#[derive(Debug, Clone)]
pub struct Files {
    /// The node's certificate, with what leads to its CA.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Of whose CAs callers may show certificates; `None`: of none.
    pub client_ca: Option<PathBuf>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or does not hold what it should.
    #[error("{} cannot be used for the node's port: {why}; check the file", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Certificate and key do not belong together, or are of a kind that is not supported.
    #[error("the certificate {} and its key cannot be used: {source}", path.display())]
    Pair {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// What identifies a version of the files.
type Stamp = Vec<Option<(u64, u64, i64, i64, u64)>>;

fn stamp(files: &Files) -> Stamp {
    let paths = [
        Some(&files.certificate),
        Some(&files.key),
        files.client_ca.as_ref(),
    ];
    let look = |path: &PathBuf| {
        let meta = fs::metadata(path).ok()?;
        Some((
            meta.dev(),
            meta.ino(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.len(),
        ))
    };
    paths.into_iter().map(|path| path.and_then(look)).collect()
}

/// What is made of the files.
#[derive(Clone)]
struct Loaded {
    acceptor: TlsAcceptor,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

fn load(files: &Files) -> Result<Loaded, TlsError> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| TlsError::File {
        path: path.to_owned(),
        why: why.to_string(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key, &error))?;
    let verifier = match &files.client_ca {
        None => None,
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| wrong(path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            Some(verifier.build().map_err(|error| wrong(path, &error))?)
        }
    };
    let asks = Arc::new(AnyCertificate {
        hints: verifier
            .as_ref()
            .map_or_else(Vec::new, |verifier| verifier.root_hint_subjects().to_vec()),
        provider: provider.clone(),
    });
    let pair = |source| TlsError::Pair {
        path: files.certificate.clone(),
        source,
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let mut config = builder
        .with_client_cert_verifier(asks)
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Loaded {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        verifier,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |why: String| TlsError::File {
        path: path.to_owned(),
        why,
    };
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let all: Result<Vec<_>, _> = read.collect();
    let all = all.map_err(|error| wrong(error.to_string()))?;
    match all.is_empty() {
        true => Err(wrong("it has no certificate".to_owned())),
        false => Ok(all),
    }
}

/// Takes any certificate whose key the caller has. Whose it is is asked afterwards, as the kubelet does: who shows a
/// certificate of another CA may still have a token.
#[derive(Debug)]
struct AnyCertificate {
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
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
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let (Loaded { acceptor, verifier }, ready) = (loaded.clone(), ready.clone());
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
