//! Keeps the certificate with which the node's port is served (`serverTLSBootstrap`): asked for when the API server has
//! an address of the node, again when it has others, and renewed before it ends. Who serves reads it from its files.

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
use crate::model::error_chain::chain;

/// The longest sleep: the net under a clock that is set and a file that somebody else writes.
const LONGEST: Duration = Duration::from_secs(600);
/// The pause before the second request, doubled before each further one.
const FIRST: Duration = Duration::from_secs(2);
/// The longest such pause.
const LAST: Duration = Duration::from_secs(32);

/// Keeps it until cancelled. `before` is the pair of files with which is served until there is one, if any: it is kept
/// as long as it is good, as by the kubelet. `node` is the node as the API server has it.
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
    // Cut off, a request that is under way is found again by the next life.
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
    let mut pause = Duration::ZERO;
    let mut told = String::new();
    loop {
        let wanted = names::wanted(&node.borrow_and_update());
        let in_force = in_force(&store, before);
        let now = Timestamp::now();
        let purpose = match names::next(in_force.as_ref(), &settings.node, wanted, now) {
            Next::Ask(purpose) => purpose,
            Next::Wait(until) => {
                pause = Duration::ZERO;
                let until = until.map(|until| Duration::try_from(until.duration_since(now)));
                let until = until.and_then(Result::ok).unwrap_or(LONGEST).min(LONGEST);
                // Both arms may be dropped.
                tokio::select! {
                    () = tokio::time::sleep(until) => {}
                    Ok(()) = node.changed() => {}
                }
                continue;
            }
        };
        // A signer that signs something else than was asked is not asked without a pause either.
        let client = clients.borrow().clone();
        let asked = async {
            tokio::time::sleep(pause).await;
            signing::obtain(&client, &store, &settings.node, &purpose, settings.patience).await
        };
        let obtained = tokio::select! {
            obtained = asked => obtained,
            // What was asked for has another name than what will be: the one is left, the other begun.
            () = other(&mut node, &purpose) => {
                pause = Duration::ZERO;
                continue;
            }
        };
        pause = (pause * 2).clamp(FIRST, LAST);
        match obtained {
            Ok(stored) if names::satisfies(&stored, &settings.node, &purpose) => {
                tracing::info!(until = %stored.not_after, "the node has a certificate to serve with");
            }
            Ok(_) => {
                tracing::warn!("the certificate to serve with is not for all that was asked: asked anew")
            }
            Err(error) => {
                let error = chain(&error);
                // Said once, not at every try.
                if error != told {
                    tracing::warn!("the node has no new certificate to serve with: {error}");
                    told = error;
                }
            }
        }
    }
}

/// Waits until something else is to be asked for.
async fn other(node: &mut watch::Receiver<ApiNode>, purpose: &Purpose) {
    let is_other = |node: &ApiNode| names::wanted(node).is_some_and(|wanted| wanted != *purpose);
    if node.wait_for(is_other).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The certificate with which is served now. One that cannot be used is none: another is asked for.
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
