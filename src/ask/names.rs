//! Names of hosts in probes and hooks. Whoever writes a pod chooses the name, and so the name server that is asked for
//! it: one that is silent keeps the C library waiting for minutes. So a name is looked up in threads of their own, of
//! which a pod has its share, and for as long as the asker has time (as the kubelet, whose dialer looks up within the
//! time of the dial).

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use crate::bulkhead::{Bulkhead, Limits, Stuck};

/// Lookups at once. One of a name whose servers are silent ends after some minutes, by the C library's own count; so
/// long it is in nobody's way but that of further names.
const LIMITS: Limits = Limits {
    total: 256,
    per_owner: 2,
};

/// Looks names up. Cloning shares the threads.
#[derive(Debug, Clone)]
pub struct Names(Bulkhead);

/// On whose behalf something is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// How names are looked up.
    pub names: &'a Names,
    /// The pod, as its share of lookups is counted.
    pub pod: &'a str,
}

impl Default for Names {
    fn default() -> Self {
        Names(Bulkhead::new("names of hosts", LIMITS))
    }
}

impl Asker<'_> {
    /// The addresses of a host. An address is its own, without a lookup. The error is as Go's dialer words it.
    pub(super) async fn addresses(
        &self,
        host: &str,
        port: u16,
        within: Duration,
    ) -> Result<Vec<SocketAddr>, String> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let name = host.to_owned();
        let lookup = move || (name.as_str(), port).to_socket_addrs().map(Vec::from_iter);
        let found = self.names.0.run(self.pod, host, within, lookup).await;
        match found {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(format!("dial tcp: lookup {host}: {}", unknown(&error))),
            Err(Stuck::Late { .. } | Stuck::Same { .. }) => {
                Err(format!("dial tcp: lookup {host}: i/o timeout"))
            }
            Err(stuck) => Err(format!("dial tcp: lookup {host}: i/o timeout ({stuck})")),
        }
    }
}

/// What the C library says, where Go has words of its own in those.
fn unknown(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(&text);
    match text {
        "Name or service not known" | "No address associated with hostname" => "no such host".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn an_address_needs_no_lookup_and_a_name_one() {
        let names = Names::default();
        let asker = Asker {
            names: &names,
            pod: "p",
        };
        let found = asker.addresses("::1", 80, WITHIN).await;
        assert_eq!(found, Ok(vec!["[::1]:80".parse().unwrap()]));
        let found = asker.addresses("localhost", 80, WITHIN).await.unwrap();
        assert!(
            found
                .iter()
                .all(|address| address.ip().is_loopback() && address.port() == 80),
            "{found:?}"
        );
        // Longer than a name may be: no server is asked.
        let name = "x.".repeat(500);
        let error = asker.addresses(&name, 80, WITHIN).await.unwrap_err();
        assert!(
            error.starts_with(&format!("dial tcp: lookup {name}: ")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_name_that_nobody_resolves_costs_its_asker_the_time_it_had_and_the_others_nothing() {
        let names = Names::default();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        // A lookup whose server is silent, as the C library makes it.
        let silent = names
            .0
            .run("bad", "silent.example", Duration::ZERO, move || {
                held.recv().is_ok()
            })
            .await;
        assert!(matches!(silent, Err(Stuck::Late { .. })));
        let asker = |pod| Asker { names: &names, pod };
        let error = asker("bad")
            .addresses("silent.example", 80, WITHIN)
            .await
            .unwrap_err();
        assert_eq!(error, "dial tcp: lookup silent.example: i/o timeout");
        assert!(asker("good").addresses("localhost", 80, WITHIN).await.is_ok());
        drop(hold);
    }
}
