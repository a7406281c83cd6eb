//! Host names in probes and hooks. The pod's author chooses the name, and so the name server: a silent one blocks the C
//! library for minutes. So lookups have threads of their own, of which each pod has a share, and are limited by the
//! caller's time (as in the kubelet, whose dialer includes the lookup in the dial timeout).

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use crate::bulkhead::{Bulkhead, Limits, Stuck};

/// Concurrent lookups. A lookup whose servers are silent ends after some minutes, by the C library's own timeout; until
/// then it delays only further lookups.
const LIMITS: Limits = Limits {
    total: 256,
    per_owner: 2,
};

/// Looks names up. Cloning shares the threads.
#[derive(Debug, Clone)]
pub struct Names(Bulkhead);

/// The owner of a request.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// How names are looked up.
    pub names: &'a Names,
    /// The pod that the lookup counts for.
    pub pod: &'a str,
}

impl Default for Names {
    fn default() -> Self {
        Names(Bulkhead::new("host lookups", LIMITS))
    }
}

impl Asker<'_> {
    /// The addresses of a host. An IP address needs no lookup. The error has the wording of Go's dialer.
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

/// The C library's error, in Go's wording where Go has its own.
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
        // Longer than a name may be: no server is queried.
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
        // Behaves like the C library's lookup when the name server is silent.
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
