//! TLS: connections with clients, and their certificates.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::caller::Caller;
use super::serving_certificate::{Files, Loaded, Stamp, TlsError, load, stamp};
use crate::model::last_logged::LastLogged;
use crate::serve::port::{Agreed, Transport};

/// The client of a connection.
#[derive(Clone)]
pub(super) struct Peer {
    /// The client's certificate chain, its own certificate first.
    chain: Arc<[CertificateDer<'static>]>,
    tls: Tls,
}

impl Peer {
    /// The caller by its client certificate, verified now against the current CAs: a connection may outlive both.
    /// With the time for which the certificate is still valid.
    pub(super) fn caller(&self) -> Option<(Caller, Duration)> {
        let (own, rest) = self.chain.split_first()?;
        let verifier = self.tls.current().verifier?;
        verifier.verify_client_cert(own, rest, UnixTime::now()).ok()?;
        Some((Caller::of_certificate(own)?, valid(own)?))
    }
}

/// For how long a certificate is still valid.
fn valid(certificate: &CertificateDer<'_>) -> Option<Duration> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let left = parsed.validity().time_to_expiration();
    Some(left.map_or(Duration::ZERO, |left| left.unsigned_abs()))
}

/// TLS with the current files. Clones share it.
#[derive(Clone)]
pub(super) struct Tls(Arc<Inner>);

struct Inner {
    files: Files,
    read: Mutex<Read>,
}

struct Read {
    stamp: Stamp,
    loaded: Loaded,
    /// That the serving certificate is missing: monitoring connects again and again.
    lack: LastLogged,
}

impl Tls {
    /// Reads the files.
    pub(super) fn new(files: Files) -> Result<Tls, TlsError> {
        let read = Read {
            stamp: stamp(&files),
            loaded: load(&files)?,
            lack: LastLogged::default(),
        };
        let read = Mutex::new(read);
        Ok(Tls(Arc::new(Inner { files, read })))
    }

    /// The TLS configuration from the current files.
    fn current(&self) -> Loaded {
        let mut read = self.read();
        let now = stamp(&self.0.files);
        if now != read.stamp {
            match load(&self.0.files) {
                Ok(fresh) => read.loaded = fresh,
                Err(error) => tracing::warn!("{error}; the files read before remain in use"),
            }
            read.stamp = now;
        }
        read.loaded.clone()
    }

    /// Logs once that there is no serving certificate.
    fn log_lack(&self, lacks: bool, address: SocketAddr) {
        if !lacks {
            return self.read().lack.clear();
        }
        if self.read().lack.is_news(&()) {
            tracing::warn!(
                %address,
                "rejecting connections: the node has no serving certificate yet; see `kubectl get csr`, and approve \
                 the kubernetes.io/kubelet-serving request if no controller does"
            );
        }
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        self.0.read.lock().expect("no holder of this lock can panic")
    }
}

impl Transport for Tls {
    type Io = TlsStream<TcpStream>;
    type Peer = Peer;

    async fn agree(&self, stream: TcpStream, address: SocketAddr) -> Option<Agreed<Self::Io, Peer>> {
        let Loaded {
            acceptor,
            serving_certificate,
            ..
        } = self.current();
        self.log_lack(!serving_certificate.is_there(UnixTime::now()), address);
        let io = match acceptor.accept(stream).await {
            Ok(io) => io,
            Err(error) => {
                tracing::debug!(%address, %error, "TLS handshake failed");
                return None;
            }
        };
        let chain = io.get_ref().1.peer_certificates().unwrap_or_default();
        let peer = Peer {
            chain: chain.iter().map(|c| c.clone().into_owned()).collect(),
            tls: self.clone(),
        };
        let is_known = peer.caller().is_some();
        Some(Agreed { io, peer, is_known })
    }
}
