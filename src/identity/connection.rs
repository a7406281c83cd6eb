//! Makes clients from the credential files, and a new one whenever the files change.
//!
//! Each request to the API server uses the current client; requests in progress finish with the client that they have,
//! so nothing fails because a certificate was renewed.

use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::config::Kubeconfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::bootstrap::{self, BootstrapError, CredentialState, chosen};
use super::client::{self, Lent};
use super::client_error::ClientError;
use super::clients::{Clients, Joined};
use super::kubeconfig::{self, Mark};
use super::selection::Choice;
use super::silent;
use crate::model::backoff::{Doubling, Waits};
use crate::model::error_chain::chain;
use crate::model::last_logged::LastLogged;

/// The pauses between attempts to get a first certificate, and between runs of a credential program.
const PAUSES: Doubling = Doubling::new(Duration::from_secs(1), Duration::from_secs(60));
/// After this long without a run, a program is trusted again.
const QUIET: SignedDuration = SignedDuration::from_mins(5);

/// What is wrong at the start and will not fix itself: a kubeconfig that is missing or makes no client, without a
/// bootstrap kubeconfig to get another one. A credential program is not run: it may need something that is not up yet.
pub async fn check(settings: &Settings) -> Result<(), ClientError> {
    match bootstrap::credential_state(settings, Timestamp::now())? {
        CredentialState::Ready => client::check(stated(settings)?, &settings.kubeconfig).await,
        CredentialState::Needed(_) => Ok(()),
    }
}

/// Gets the node its first certificate if it has none, and keeps `out` at a client that matches the files, until
/// canceled.
pub async fn run(settings: Settings, out: watch::Sender<Option<Clients>>, cancel: CancellationToken) {
    // If interrupted, the next run finds the request in progress.
    tokio::select! {
        () = cancel.cancelled() => {}
        () = async {
            let (client, seen) = first(&settings).await;
            follow(&settings, client, seen, &out).await;
        } => {}
    }
}

/// What a client was made from.
struct Seen {
    files: Vec<(PathBuf, Mark)>,
}

impl Seen {
    /// The marks of all files that a client depends on. Taken before they are read, so that no change is missed.
    fn now(settings: &Settings) -> Seen {
        let mut paths = vec![settings.kubeconfig.clone(), settings.store().current()];
        if let Ok(stated) = kubeconfig::read(&settings.kubeconfig) {
            paths.extend(stated.files());
        }
        let files = paths.into_iter().map(|path| {
            let mark = kubeconfig::mark(&path);
            (path, mark)
        });
        Seen {
            files: files.collect(),
        }
    }

    fn is_as_ever(&self) -> bool {
        self.files
            .iter()
            .all(|(path, mark)| kubeconfig::mark(path) == *mark)
    }
}

/// The first client; retried until it succeeds.
async fn first(settings: &Settings) -> (Lent, Seen) {
    let mut waits = PAUSES.waits();
    let mut logged = LastLogged::default();
    loop {
        let error = match begin(settings).await {
            Ok(begun) => return begun,
            Err(error) => chain(&error),
        };
        if logged.is_news(&error) {
            tracing::warn!("the node cannot connect to its API server yet: {error}");
        }
        tokio::time::sleep(waits.fail()).await;
    }
}

async fn begin(settings: &Settings) -> Result<(Lent, Seen), BootstrapError> {
    if let CredentialState::Needed(why) = bootstrap::credential_state(settings, Timestamp::now())? {
        bootstrap::bootstrap(settings, &why).await?;
    }
    let seen = Seen::now(settings);
    Ok((lent(settings).await?, seen))
}

/// The client for the current files; sends nothing.
pub async fn current(settings: &Settings) -> Result<kube::Client, ClientError> {
    lent(settings).await.map(|lent| lent.client)
}

async fn lent(settings: &Settings) -> Result<Lent, ClientError> {
    let (path, pace) = (&settings.kubeconfig, &settings.pace);
    client::make_lent(stated(settings)?, path, Some(pace), &settings.counters).await
}

/// The kubeconfig, with the selected certificate.
fn stated(settings: &Settings) -> Result<Kubeconfig, ClientError> {
    let stated = kubeconfig::read(&settings.kubeconfig)?;
    Ok(match chosen(settings, &stated, Timestamp::now()) {
        Choice::Stored(_) if stated.has_certificate() => stated.with_pair(&settings.store().current()),
        _ => stated.whole(),
    })
}

/// When the credential program may run again: a program that returns wrong credentials, or none, does not run at every
/// check.
struct Pause {
    until: Timestamp,
    lengths: Waits,
}

impl Pause {
    fn new() -> Pause {
        Pause {
            until: Timestamp::UNIX_EPOCH,
            lengths: PAUSES.waits(),
        }
    }

    /// The program runs now: the next pause is longer, unless the last run was long ago.
    fn begin(&mut self, now: Timestamp) {
        if now.duration_since(self.until) >= QUIET {
            self.lengths.reset();
        }
        self.until = now + SignedDuration::try_from(self.lengths.fail()).unwrap_or(QUIET);
    }
}

/// Passes on a client and its successors.
async fn follow(
    settings: &Settings,
    Lent { client, mut loan }: Lent,
    mut seen: Seen,
    out: &watch::Sender<Option<Clients>>,
) {
    let (clients, first) = watch::channel(client);
    out.send_replace(Some(first));
    let mut looks = tokio::time::interval(settings.look);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut pause, mut logged) = (Pause::new(), LastLogged::default());
    loop {
        looks.tick().await;
        let now = Timestamp::now();
        let is_over = loan.as_ref().is_some_and(|loan| loan.is_over(now)) && pause.until <= now;
        if seen.is_as_ever() && !is_over {
            continue;
        }
        seen = Seen::now(settings);
        pause.begin(now);
        match lent(settings).await {
            Ok(next) => {
                tracing::info!("the credentials have changed; using the new ones");
                logged.clear();
                loan = next.loan;
                clients.send_replace(next.client);
            }
            Err(error) => {
                let error = chain(&error);
                if logged.is_news(&error) {
                    tracing::warn!(
                        "the credentials have changed but cannot be used; keeping the previous ones: {error}"
                    );
                }
            }
        }
    }
}

/// The clients for a task that does not wait for the first one: until there is one, its requests get no answer. The
/// future passes on later clients until canceled.
pub fn at_once(joined: Joined, cancel: CancellationToken) -> (Clients, impl Future<Output = ()> + Send) {
    let (out, clients) = watch::channel(silent::client(joined.clone()));
    let hand_on = async move {
        let Some(mut clients) = self::joined(joined, &cancel).await else {
            return;
        };
        loop {
            out.send_replace(clients.borrow_and_update().clone());
            // Both arms only wait.
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = clients.changed() => if changed.is_err() {
                    return cancel.cancelled().await;
                },
            }
        }
    };
    (clients, hand_on)
}

/// Waits for the first client; `None` if canceled before.
pub async fn joined(mut joined: Joined, cancel: &CancellationToken) -> Option<Clients> {
    tokio::select! {
        () = cancel.cancelled() => None,
        there = joined.wait_for(Option::is_some) => there.ok().and_then(|there| there.clone()),
    }
}
