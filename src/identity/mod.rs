//! Who the node is to its API server: the credentials that it speaks with, how it gets them and keeps them.
//!
//! Three tasks share files, as the kubelet lays them out, and nothing else: `renewal` asks for certificates to be known
//! by and stores them, `serving` does so for those to serve with, `connection` makes clients of what is stored. So what
//! somebody else stores is as good, and an agent that was killed anywhere goes on from what lies there. What is decided
//! (`renewal_time`, `selection`, `names`, `request`, `signature`, `ca_pin`) reads no file and no clock.
//!
//! Keys and tokens leave this room only into files of mode 0600 and onto the wire.

mod lookup;
pub mod client_error;
pub mod client;
pub mod cluster;
pub mod files;
pub mod certificate;
pub mod self_signed;
pub mod key;
pub mod store;
pub mod kubeconfig;
pub mod exec;
pub mod selection;
pub mod renewal_time;
pub mod request;
pub mod signing;
pub mod bootstrap;
pub mod clients;
mod silent;
pub mod connection;
pub mod renewal;
pub mod names;
pub mod serving;
pub mod token;
pub mod signature;
pub mod ca_pin;
pub mod discovery;
pub(crate) mod cause;

use std::path::PathBuf;
use std::time::Duration;

/// Whether certificates are renewed (`rotateCertificates`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The agent renews its certificate before it ends.
    On,
    /// Somebody else does, or nobody.
    Off,
}

/// Where the credentials are, and whose they are.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the API server is reached; written by the bootstrap.
    pub kubeconfig: PathBuf,
    /// How it is reached before there is a certificate; the file may be gone once it has been used.
    pub bootstrap: Option<PathBuf>,
    /// `--cert-dir`
    pub directory: PathBuf,
    /// The node's name.
    pub node: String,
    /// Whether certificates are renewed.
    pub renewal: Renewal,
    /// How often the files are looked at for changes.
    pub look: Duration,
    /// How long a request for a certificate is waited for before it is tried anew.
    pub patience: Duration,
}

impl Settings {
    /// Where the client's certificates are stored.
    pub fn store(&self) -> store::Store {
        store::Store::new(&self.directory, store::CLIENT)
    }

    /// Where the certificates are stored with which the node's port is served.
    pub fn serving_store(&self) -> store::Store {
        store::Store::new(&self.directory, store::SERVER)
    }
}
