//! Lookups of the API server's name, in a bulkhead: while a name server is silent, each of the agent's watches would
//! otherwise block one of the threads that volumes need.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::LazyLock;
use std::time::Duration;

use hyper_util::client::legacy::connect::dns::Name;

use crate::bulkhead::{Bulkhead, Limits};

/// Concurrent lookups: as many as there are clients during a change, and some more.
const LIMITS: Limits = Limits {
    total: 8,
    per_owner: 8,
};

/// Shared by all clients: a replaced client leaves its lookups behind.
static PLACES: LazyLock<Bulkhead> = LazyLock::new(|| Bulkhead::new("lookups of API servers", LIMITS));

/// The addresses of a name; the connector sets the port.
pub(super) async fn addresses(name: Name, patience: Duration) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    let text = name.as_str().to_owned();
    let lookup = move || (text.as_str(), 0).to_socket_addrs();
    let found = PLACES.run("the node", name.as_str(), patience, lookup).await;
    found.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_has_addresses() {
        let name = "localhost".parse().unwrap();
        let found = addresses(name, Duration::from_secs(20)).await.unwrap();
        let found: Vec<SocketAddr> = found.collect();
        assert!(
            found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty(),
            "{found:?}"
        );
    }
}
