//! The clients that a task is handed.

use tokio::sync::watch;

/// The current client.
pub type Clients = watch::Receiver<kube::Client>;

/// Whether there is one yet.
pub type Joined = watch::Receiver<Option<Clients>>;
