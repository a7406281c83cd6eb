//! The node's identity to its API server: its credentials, and how it gets and renews them.
//!
//! Three tasks share files, as the kubelet lays them out, and nothing else: `renewal` asks for certificates to be known
//! by and stores them, `serving` does so for those to serve with, `connection` makes clients of what is stored. So what
//! another program stores is as good, and an agent that was killed anywhere goes on from what lies there. What is decided
//! (`renewal_time`, `selection`, `names`, `request`, `signature`, `ca_pin`) reads no file and no clock.
//!
//! Keys and tokens leave this room only into files of mode 0600 and onto the wire.

mod lookup;
mod meter;
pub mod client_error;
pub mod client;
pub mod cluster;
pub mod files;
pub mod certificate;
pub mod self_signed;
pub mod kubectl;
pub mod kubectl_file;
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
pub mod pace;
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
use std::sync::Arc;
use std::time::Duration;

use crate::counters::Counters;

/// Whether certificates are renewed (`rotateCertificates`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The agent renews its certificate before it expires.
    On,
    /// Another program manages it, or it is not managed.
    Off,
}

/// Where the credentials are, and which node they belong to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's kubeconfig; the bootstrap writes it.
    pub kubeconfig: PathBuf,
    /// The bootstrap kubeconfig, used before there is a certificate; the file may be gone after its use.
    pub bootstrap: Option<PathBuf>,
    /// `--cert-dir`
    pub directory: PathBuf,
    /// The node's name.
    pub node: String,
    /// Whether certificates are renewed.
    pub renewal: Renewal,
    /// How often to check the files for changes.
    pub look: Duration,
    /// How long to wait for a certificate signing request before making a new one.
    pub patience: Duration,
    /// How many requests are sent.
    pub pace: Arc<pace::Pace>,
    /// Counts requests and renewals.
    pub counters: Arc<Counters>,
}

impl Settings {
    /// Where client certificates are stored.
    pub fn store(&self) -> store::Store {
        store::Store::new(&self.directory, store::CLIENT)
    }

    /// Where the serving certificates of the node's port are stored.
    pub fn serving_store(&self) -> store::Store {
        store::Store::new(&self.directory, store::SERVER)
    }
}
