//! Keeps the serving certificate of the node's port (`serverTLSBootstrap`): requested once the Node object has an
//! address, requested again when the addresses change, and renewed before it expires. The server reads it from its
//! files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::certificate::Certificate;
use super::clients::{Clients, Joined};
use super::connection;
use super::names::{self, Next};
use super::request::Purpose;
use super::store::{self, Store};
use super::{Settings, signing};
use crate::model::api::ApiNode;
use crate::model::backoff::Doubling;
use crate::model::error_chain::chain;
use crate::model::last_logged::LastLogged;

/// The longest sleep: a safety net for clock changes and for files that another program writes.
const LONGEST: Duration = Duration::from_secs(600);
/// The pauses before the second request and each further one.
const PAUSES: Doubling = Doubling::new(Duration::from_secs(2), Duration::from_secs(32));

/// Keeps the serving certificate until canceled. `before` is the pair of files, if any, that is served until there is
/// one: it is used as long as it is valid, as by the kubelet. `node` is the Node object from the API server.
pub async fn run(
    settings: Settings,
    before: Option<(PathBuf, PathBuf)>,
    joined: Joined,
    node: watch::Receiver<ApiNode>,
    cancel: CancellationToken,
) {
    let Some(clients) = connection::joined(joined, &cancel).await else {
        return;
    };
    // If interrupted, the next run finds the request in progress.
    tokio::select! {
        () = cancel.cancelled() => {}
        () = keep(&settings, before.as_ref(), clients, node) => {}
    }
}

async fn keep(
    settings: &Settings,
    before: Option<&(PathBuf, PathBuf)>,
    clients: Clients,
    mut node: watch::Receiver<ApiNode>,
) {
    let store = settings.serving_store();
    let mut pause: Option<Duration> = None;
    let mut logged = LastLogged::default();
    loop {
        let wanted = names::wanted(&node.borrow_and_update());
        let in_force = in_force(&store, before);
        let now = Timestamp::now();
        let purpose = match names::next(in_force.as_ref(), &settings.node, wanted, now) {
            Next::Ask(purpose) => purpose,
            Next::Wait(until) => {
                pause = None;
                let until = until.map(|until| Duration::try_from(until.duration_since(now)));
                let until = until.and_then(Result::ok).unwrap_or(LONGEST).min(LONGEST);
                // Both arms are cancel-safe.
                tokio::select! {
                    () = tokio::time::sleep(until) => {}
                    Ok(()) = node.changed() => {}
                }
                continue;
            }
        };
        // A signer that signs something other than what was requested is not asked without a pause either.
        let client = clients.borrow().clone();
        let asked = async {
            tokio::time::sleep(pause.unwrap_or_default()).await;
            signing::obtain(&client, &store, &settings.node, &purpose, settings.patience).await
        };
        let obtained = tokio::select! {
            obtained = asked => obtained,
            // The names differ now: the old request is abandoned and a new one made.
            () = other(&mut node, &purpose) => {
                pause = None;
                continue;
            }
        };
        pause = Some(PAUSES.after(pause));
        match obtained {
            Ok(stored) if names::satisfies(&stored, &settings.node, &purpose) => {
                tracing::info!(until = %stored.not_after, "serving certificate issued");
                logged.clear();
            }
            Ok(_) => {
                tracing::warn!("the serving certificate lacks requested names; requesting another one");
            }
            Err(error) => {
                let error = chain(&error);
                if logged.is_news(&error) {
                    tracing::warn!("cannot get a new serving certificate: {error}");
                }
            }
        }
    }
}

/// Waits until the names to request change.
async fn other(node: &mut watch::Receiver<ApiNode>, purpose: &Purpose) {
    let is_other = |node: &ApiNode| names::wanted(node).is_some_and(|wanted| wanted != *purpose);
    if node.wait_for(is_other).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The current serving certificate. One that cannot be used counts as none: another one is requested.
fn in_force(store: &Store, before: Option<&(PathBuf, PathBuf)>) -> Option<Certificate> {
    let stored = match store.read() {
        Ok(stored) => stored,
        Err(error) => {
            tracing::debug!("{error}");
            None
        }
    };
    stored.or_else(|| before.and_then(|(certificate, key)| pair(certificate, key)))
}

fn pair(certificate: &Path, key: &Path) -> Option<Certificate> {
    let (chain, key) = (std::fs::read(certificate).ok()?, std::fs::read(key).ok()?);
    let leaf = super::certificate::certificates(&chain)
        .ok()?
        .into_iter()
        .next()?;
    store::fits(&leaf, &key).then_some(leaf)
}
