//! Keeps the node's client certificate valid: renews it before it expires, and requests a new one with the bootstrap
//! kubeconfig, if there is one, when the API server no longer accepts it.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::bootstrap::{self, BootstrapError, CredentialState, Recognition, chosen};
use super::certificate::Certificate;
use super::clients::{Clients, Joined};
use super::connection;
use super::kubeconfig::{self, Stated};
use super::request::Purpose;
use super::selection::Choice;
use super::signing::{self, SigningError};
use super::{Renewal, Settings, renewal_time};
use crate::model::backoff::Doubling;
use crate::model::error_chain::chain;
use crate::model::last_logged::LastLogged;

/// The longest sleep: a safety net for clock changes and for files that another program writes.
const LONGEST: Duration = Duration::from_secs(600);
/// The longest sleep while the API server has not yet confirmed the certificate.
const UNKNOWN: Duration = Duration::from_secs(30);
/// The first wait after a failure, and the wait after each step.
const FIRST: Duration = Duration::from_secs(5);
/// The waits after failures.
const WAITS: Doubling = Doubling::new(FIRST, LONGEST);

/// Keeps the certificate valid until canceled.
pub async fn run(settings: Settings, joined: Joined, cancel: CancellationToken) {
    let Some(clients) = connection::joined(joined, &cancel).await else {
        return;
    };
    // If interrupted, the next run finds the request in progress.
    tokio::select! {
        () = cancel.cancelled() => {}
        () = keep(&settings, clients) => {}
    }
}

async fn keep(settings: &Settings, clients: Clients) {
    let mut is_known = false;
    let mut failed = WAITS.waits();
    let mut logged = LastLogged::default();
    loop {
        let done = match is_known {
            true => Ok(true),
            false => verify_certificate(settings, &clients).await,
        };
        let done = match done {
            Ok(known) => {
                is_known = known;
                turn(settings, &clients).await
            }
            Err(error) => Err(error),
        };
        let wait = match done {
            Ok(until) => {
                failed.reset();
                logged.clear();
                let wait = Duration::try_from(until.duration_since(Timestamp::now()));
                let longest = if is_known { LONGEST } else { UNKNOWN };
                wait.unwrap_or(Duration::ZERO).min(longest)
            }
            Err(error) => {
                settings.counters.certificates.failed();
                let error = chain(&error);
                if logged.is_news(&error) {
                    tracing::warn!("cannot renew the node's certificate: {error}");
                }
                failed.fail()
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Does what is due now; returns when to check again. One thing at a time: a signer whose certificates expire at once
/// is not asked without a pause.
async fn turn(settings: &Settings, clients: &Clients) -> Result<Timestamp, BootstrapError> {
    let now = Timestamp::now();
    match next(settings, now) {
        Next::Wait(until) => Ok(until),
        Next::Act(what) => act(settings, clients, what).await.map(|()| now + FIRST),
    }
}

/// What to do about the certificate.
enum Next {
    /// Nothing before then.
    Wait(Timestamp),
    /// This.
    Act(RenewalAction),
}

/// An action on the certificate.
enum RenewalAction {
    /// The kubeconfig's own certificate is stored and renewed at once, as the kubelet does: it may have more rights
    /// than a node's.
    TakeOver(Box<Stated>),
    /// It is renewed.
    Renew,
    /// It cannot be used any more; the reason.
    Begin(String),
}

fn next(settings: &Settings, now: Timestamp) -> Next {
    let later = Next::Wait(now + jiff::SignedDuration::from_secs(3600));
    match bootstrap::credential_state(settings, now) {
        Ok(CredentialState::Needed(why)) => return Next::Act(RenewalAction::Begin(why)),
        // The maker of the client has logged it.
        Err(_) => return later,
        Ok(CredentialState::Ready) => {}
    }
    let Ok(stated) = kubeconfig::read(&settings.kubeconfig) else {
        return later;
    };
    let choice = chosen(settings, &stated, now);
    let expiry = match &choice {
        Choice::Stored(certificate) | Choice::Stated(certificate) => Some(certificate.not_after),
        Choice::None(_) => None,
    };
    settings.counters.certificates.expires(expiry);
    if settings.renewal == Renewal::Off || !stated.has_certificate() {
        return later;
    }
    let by_due = |certificate: &Certificate| match renewal_time::renewal(certificate) {
        renewal_time if renewal_time > now => Next::Wait(renewal_time),
        _ => Next::Act(RenewalAction::Renew),
    };
    match choice {
        Choice::Stored(certificate) => by_due(&certificate),
        Choice::Stated(_) if stated.is_embedded() => Next::Act(RenewalAction::TakeOver(Box::new(stated))),
        Choice::Stated(certificate) => by_due(&certificate),
        Choice::None(_) => later,
    }
}

async fn act(settings: &Settings, clients: &Clients, what: RenewalAction) -> Result<(), BootstrapError> {
    match what {
        RenewalAction::Begin(why) => bootstrap::bootstrap(settings, &why).await,
        RenewalAction::Renew => renew(settings, clients).await,
        RenewalAction::TakeOver(stated) => {
            if let Some(pair) = stated.pair() {
                let key = String::from_utf8_lossy(&pair.key);
                settings.store().update(&pair.chain, &key, Timestamp::now())?;
            }
            renew(settings, clients).await
        }
    }
}

/// Renews the certificate.
async fn renew(settings: &Settings, clients: &Clients) -> Result<(), BootstrapError> {
    let (client, store) = (clients.borrow().clone(), settings.store());
    let obtained = signing::obtain(
        &client,
        &store,
        &settings.node,
        &Purpose::Client,
        settings.patience,
    )
    .await;
    match obtained {
        Ok(stored) => {
            tracing::info!(until = %stored.not_after, "node certificate renewed");
            Ok(())
        }
        Err(SigningError::Credentials(why)) => {
            bootstrap::bootstrap(settings, &format!("is not accepted by the API server ({why})")).await
        }
        Err(error) => Err(BootstrapError::Signing(error)),
    }
}

/// Presents the certificate once; returns whether it is accepted. An API server that does not accept it belongs to
/// another cluster or has changed its certificate authority: this is logged, and the bootstrap starts over if possible.
async fn verify_certificate(settings: &Settings, clients: &Clients) -> Result<bool, BootstrapError> {
    if !kubeconfig::read(&settings.kubeconfig).is_ok_and(|stated| stated.has_certificate()) {
        // Credentials other than a certificate are not managed here.
        return Ok(true);
    }
    let client = clients.borrow().clone();
    match bootstrap::recognized(&client, &settings.node).await {
        Recognition::Known => Ok(true),
        Recognition::Unasked(said) => {
            tracing::debug!(
                said,
                "the API server has not yet confirmed the node's certificate"
            );
            Ok(false)
        }
        Recognition::Stranger(said) => {
            let why = format!("does not belong to the cluster of this API server ({said})");
            bootstrap::bootstrap(settings, &why).await?;
            Ok(false)
        }
    }
}
