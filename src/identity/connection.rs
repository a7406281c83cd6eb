//! Makes clients of what the files say, and a new one whenever they say something else.
//!
//! Whoever asks the API server takes the client of the moment: those that are under way finish with the one they
//! have, so nothing fails because a certificate was renewed.

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
use crate::model::error_chain::chain;

/// The longest wait between two tries to get a first certificate, and the first.
const LONGEST: Duration = Duration::from_secs(60);
const FIRST: Duration = Duration::from_secs(1);
/// After so long without a question a program is trusted to answer well again.
const QUIET: SignedDuration = SignedDuration::from_mins(5);

/// What is wrong at the start and will not become right by itself: a kubeconfig that is not there or makes no client,
/// and nothing to get another one with. A program that gives credentials is not run: it may need what is not up yet.
pub async fn check(settings: &Settings) -> Result<(), ClientError> {
    match bootstrap::credential_state(settings, Timestamp::now())? {
        CredentialState::Ready => client::check(stated(settings)?, &settings.kubeconfig).await,
        CredentialState::Needed(_) => Ok(()),
    }
}

/// Gets the node its first certificate where it has none, and keeps `out` at a client of what the files say, until
/// cancelled.
pub async fn run(settings: Settings, out: watch::Sender<Option<Clients>>, cancel: CancellationToken) {
    // Cut off, a request that is under way is found again by the next life.
    tokio::select! {
        () = cancel.cancelled() => {}
        () = async {
            let (client, seen) = first(&settings).await;
            follow(&settings, client, seen, &out).await;
        } => {}
    }
}

/// What a client was made of.
struct Seen {
    files: Vec<(PathBuf, Mark)>,
}

impl Seen {
    /// The marks of all that a client depends on. Taken before it is read, so that no change is missed.
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

/// The first client; tried for as long as it takes.
async fn first(settings: &Settings) -> (Lent, Seen) {
    let mut wait = FIRST;
    let mut told = String::new();
    loop {
        let error = match begin(settings).await {
            Ok(begun) => return begun,
            Err(error) => chain(&error),
        };
        // Said once, not at every try.
        if error != told {
            tracing::warn!("the node cannot speak to its API server yet: {error}");
            told = error;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST);
    }
}

async fn begin(settings: &Settings) -> Result<(Lent, Seen), BootstrapError> {
    if let CredentialState::Needed(why) = bootstrap::credential_state(settings, Timestamp::now())? {
        bootstrap::bootstrap(settings, &why).await?;
    }
    let seen = Seen::now(settings);
    Ok((lent(settings).await?, seen))
}

/// The client that the files make now; nothing is sent.
pub async fn current(settings: &Settings) -> Result<kube::Client, ClientError> {
    lent(settings).await.map(|lent| lent.client)
}

async fn lent(settings: &Settings) -> Result<Lent, ClientError> {
    client::make_lent(stated(settings)?, &settings.kubeconfig).await
}

/// The kubeconfig, with the certificate that is used.
fn stated(settings: &Settings) -> Result<Kubeconfig, ClientError> {
    let stated = kubeconfig::read(&settings.kubeconfig)?;
    Ok(match chosen(settings, &stated, Timestamp::now()) {
        Choice::Stored(_) if stated.has_certificate() => stated.with_pair(&settings.store().current()),
        _ => stated.whole(),
    })
}

/// When a program may be asked for credentials again: one that gives wrong ones, or none, is not asked at every look.
struct Pause {
    until: Timestamp,
    length: Duration,
}

impl Pause {
    fn new() -> Pause {
        Pause {
            until: Timestamp::UNIX_EPOCH,
            length: FIRST,
        }
    }

    /// It is asked now: the next pause is longer, unless the last was long ago.
    fn begin(&mut self, now: Timestamp) {
        let is_fresh = now.duration_since(self.until) < QUIET;
        self.length = match is_fresh {
            true => (self.length * 2).min(LONGEST),
            false => FIRST,
        };
        self.until = now + SignedDuration::try_from(self.length).unwrap_or(QUIET);
    }
}

/// Hands on a client, and each that follows it.
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
    let (mut pause, mut told) = (Pause::new(), String::new());
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
                tracing::info!("the credentials have changed: they are used from now on");
                told.clear();
                loan = next.loan;
                clients.send_replace(next.client);
            }
            Err(error) => {
                let error = chain(&error);
                // Said once, not at every try.
                if error != told {
                    tracing::warn!(
                        "the credentials have changed and cannot be used, the former ones stay: {error}"
                    );
                    told = error;
                }
            }
        }
    }
}

/// The clients of one who does not wait for the first: until there is one, what is asked is not answered. The future
/// hands on those that come, until cancelled.
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

/// Waits for the first client; `None` where it is cancelled before.
pub async fn joined(mut joined: Joined, cancel: &CancellationToken) -> Option<Clients> {
    tokio::select! {
        () = cancel.cancelled() => None,
        there = joined.wait_for(Option::is_some) => there.ok().and_then(|there| there.clone()),
    }
}
