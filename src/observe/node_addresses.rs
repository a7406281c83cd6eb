//! Watches the node's addresses: read at the start, when the kernel announces a change, and once a minute.
//!
//! The kubelet reads them with every node status (`pkg/kubelet/nodestatus/setters.go`, `NodeAddress`), and when it finds
//! none, what it reported before stays. Here, too, the last known addresses stay until there are others.

use std::future::pending;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::address::{self, NoAddress, Wanted};
use super::address_changes;
use crate::bulkhead::{Bulkhead, Limits};
use crate::model::last_logged::LastLogged;

/// How often the addresses are read without an announcement: one may be lost, a link that goes down announces no IPv4
/// routes, and the name may resolve to something else.
const LOOK: Duration = Duration::from_secs(60);
/// The pause after an announcement: what belongs together (an address, its routes) is read once.
const REST: Duration = Duration::from_millis(100);
/// The pause before listening again, after the kernel had to drop announcements.
const RELISTEN: Duration = Duration::from_secs(1);
/// How long the lookup of the node's name may delay what the routes alone say.
const PATIENCE: Duration = Duration::from_secs(2);
/// Concurrent lookups of the node's name: one, which may hang.
const LOOKUPS: Limits = Limits {
    total: 1,
    per_owner: 1,
};

/// Reads the node's addresses.
#[derive(Debug)]
pub struct Reader {
    wanted: Wanted,
    lookups: Bulkhead,
    /// What the name resolved to when its servers last answered.
    resolved: Vec<IpAddr>,
    /// What was read last.
    last: Vec<IpAddr>,
    logged: LastLogged<NoAddress>,
}

impl Reader {
    /// A reader that has read nothing yet.
    pub fn new(wanted: Wanted) -> Reader {
        Reader {
            wanted,
            lookups: Bulkhead::new("lookups of the node", LOOKUPS),
            resolved: Vec::new(),
            last: Vec::new(),
            logged: LastLogged::default(),
        }
    }

    /// The addresses now, the primary first. `None`, and logged once: there are none.
    pub async fn read(&mut self) -> Option<Arc<[IpAddr]>> {
        if let Wanted::Found { name, .. } = &self.wanted {
            let (name, subject) = (name.clone(), name.clone());
            let lookup = move || (name.as_str(), 0).to_socket_addrs();
            // While the name's servers are silent or fail, the last answer holds: the node does not move to another
            // address for an outage of theirs. What the machine does not have is not chosen in any case.
            if let Ok(Ok(found)) = self.lookups.run("the node", &subject, PATIENCE, lookup).await {
                self.resolved = found.map(|address| address.ip()).collect();
            }
        }
        match address::addresses(&self.wanted, &self.resolved, &self.last) {
            Ok(found) => {
                self.logged.clear();
                self.last.clone_from(&found);
                Some(found.into())
            }
            Err(none) => {
                if self.logged.is_news(&none) {
                    tracing::warn!("the node has no address: {none}");
                }
                None
            }
        }
    }
}

/// Keeps `out` up to date until canceled; its only writer.
pub async fn run(mut reader: Reader, out: watch::Sender<Arc<[IpAddr]>>, cancel: CancellationToken) {
    let mut unheard = LastLogged::default();
    loop {
        // Listening begins before reading, so that no change falls between them.
        let mut changes = address_changes::listen();
        match &changes {
            Ok(_) => unheard.clear(),
            Err(error) => {
                if unheard.is_news(&error.kind()) {
                    tracing::warn!(%error, "cannot listen to changes of addresses; reading them once a minute");
                }
            }
        }
        loop {
            // An abandoned lookup only reads.
            tokio::select! {
                () = cancel.cancelled() => return,
                () = look(&mut reader, &out) => {}
            }
            let announced = async {
                match &mut changes {
                    Ok(changes) => changes.next().await,
                    Err(_) => pending().await,
                }
            };
            // Every arm only waits; an announcement that was not taken stays.
            let listens_on = tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(LOOK) => changes.is_ok(),
                announced = announced => {
                    tokio::time::sleep(if announced.is_some() { REST } else { RELISTEN }).await;
                    announced.is_some()
                }
            };
            if !listens_on {
                break;
            }
        }
    }
}

async fn look(reader: &mut Reader, out: &watch::Sender<Arc<[IpAddr]>>) {
    if let Some(found) = reader.read().await {
        publish(out, found);
    }
}

fn publish(out: &watch::Sender<Arc<[IpAddr]>>, found: Arc<[IpAddr]>) {
    out.send_if_modified(|before| {
        let has_changed = **before != *found;
        if has_changed {
            tracing::info!(?before, now = ?found, "the node's addresses have changed");
            *before = found;
        }
        has_changed
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_gone_stays_until_there_is_another() {
        let former: IpAddr = "198.51.100.7".parse().unwrap();
        let (out, addresses) = watch::channel(Arc::from([former]));
        // Of documentation (RFC 5737): no machine has it.
        let missing = Wanted::Given(vec!["203.0.113.255".parse().unwrap()]);
        look(&mut Reader::new(missing), &out).await;
        assert_eq!(**addresses.borrow(), [former]);
        let present: IpAddr = "198.51.100.8".parse().unwrap();
        look(&mut Reader::new(Wanted::Name(present)), &out).await;
        assert_eq!(**addresses.borrow(), [present]);
    }

    #[test]
    fn only_a_change_wakes_readers() {
        let address = |text: &str| -> Arc<[IpAddr]> { Arc::from([text.parse().unwrap()]) };
        let (out, mut addresses) = watch::channel(Arc::from([]));
        for (found, is_news) in [("192.0.2.1", true), ("192.0.2.1", false), ("192.0.2.2", true)] {
            publish(&out, address(found));
            assert_eq!(addresses.has_changed().unwrap(), is_news, "{found}");
            assert_eq!(*addresses.borrow_and_update(), address(found));
        }
    }
}
