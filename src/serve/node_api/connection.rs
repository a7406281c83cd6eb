//! TLS: connections with callers, and what they show of themselves.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::caller::Caller;
use super::serving_certificate::{Files, Loaded, Stamp, TlsError, load, stamp};
use crate::serve::port::{Agreed, Transport};

/// The other end of a connection.
#[derive(Clone)]
pub(super) struct Peer {
    /// What it showed, its own certificate first.
    chain: Arc<[CertificateDer<'static>]>,
    tls: Tls,
}

impl Peer {
    /// Who it is by its certificate, which holds now and under the CAs of now: a connection may outlive both.
    pub(super) fn caller(&self) -> Option<Caller> {
        let (own, rest) = self.chain.split_first()?;
        let verifier = self.tls.current().verifier?;
        verifier.verify_client_cert(own, rest, UnixTime::now()).ok()?;
        Caller::of_certificate(own)
    }
}

/// TLS by the files of now. Clones are the same.
#[derive(Clone)]
pub(super) struct Tls(Arc<Inner>);

struct Inner {
    files: Files,
    read: Mutex<Read>,
}

struct Read {
    stamp: Stamp,
    loaded: Loaded,
    /// Whether the log says that there is no certificate to show: monitoring calls again and again.
    lack_is_told: bool,
}

impl Tls {
    /// Reads the files.
    pub(super) fn new(files: Files) -> Result<Tls, TlsError> {
        let read = Read {
            stamp: stamp(&files),
            loaded: load(&files)?,
            lack_is_told: false,
        };
        let read = Mutex::new(read);
        Ok(Tls(Arc::new(Inner { files, read })))
    }

    /// What the files say now.
    fn current(&self) -> Loaded {
        let mut read = self.read();
        let now = stamp(&self.0.files);
        if now != read.stamp {
            match load(&self.0.files) {
                Ok(fresh) => read.loaded = fresh,
                Err(error) => tracing::warn!("{error}; what was read before stays in force"),
            }
            read.stamp = now;
        }
        read.loaded.clone()
    }

    /// Says once that there is no certificate to show.
    fn tell_lack(&self, lacks: bool, address: SocketAddr) {
        let was_told = std::mem::replace(&mut self.read().lack_is_told, lacks);
        if lacks && !was_told {
            tracing::warn!(
                %address,
                "a caller gets no connection: the node has no certificate to serve with yet; see `kubectl get csr`, \
                 and approve the one of kubernetes.io/kubelet-serving where nobody does"
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
        self.tell_lack(!serving_certificate.is_there(UnixTime::now()), address);
        let io = match acceptor.accept(stream).await {
            Ok(io) => io,
            Err(error) => {
                tracing::debug!(%address, %error, "no TLS with a caller");
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
