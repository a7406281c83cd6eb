//! Protects the host's loopback, whatever connects pods and whatever flushes rules: the rule of
//! [`gantry_cni::loopback_guard`] is set before anything else is done, and set again when it is gone.
//!
//! The kubelet checks once a minute (its canary, pkg/util/iptables/iptables.go `Monitor`). Here the kernel announces
//! each change of rules, and the check once a minute is for lost announcements.

use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use crate::model::last_logged::LastLogged;

use gantry_cni::loopback_guard::{self, RulesetEvents};

/// How often the rule is checked without an announcement.
const LOOK: Duration = Duration::from_secs(60);
/// The pause between two checks: a program that keeps removing the rule must not cost a whole processor.
const REST: Duration = Duration::from_millis(10);

/// Sets the rule. A failure is logged and does not prevent the start: [`keep`] retries.
pub(super) async fn stand() {
    look(&mut LastLogged::default(), false).await;
}

/// Removes the rule if the configuration disables it (`makeIPTablesUtilChains: false`).
pub(super) async fn fall() {
    let removed = tokio::task::spawn_blocking(loopback_guard::remove).await;
    if let Err(error) = removed.expect("talking to the kernel does not panic") {
        tracing::warn!(%error, "cannot remove the rule that guards the host's loopback");
    }
}

/// Watches the rule until canceled. What took it away may have taken every other rule, too: `flushed` runs whenever it was
/// restored.
pub(super) async fn keep<F: Future<Output = ()>>(flushed: impl Fn() -> F, cancel: CancellationToken) {
    let mut news = listen();
    if let Err(error) = &news {
        tracing::warn!(%error, "cannot watch the firewall; checking the rule once a minute");
    }
    let mut failure = LastLogged::default();
    loop {
        // What changed since the start, or before the news were listened to, is seen now.
        if look(&mut failure, true).await == Look::Restored {
            flushed().await;
        }
        let announced = async {
            match &mut news {
                Ok(news) => concerns(news).await,
                Err(_) => std::future::pending().await,
            }
        };
        // Every arm only waits, and news that were not taken stay.
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
            () = announced => tokio::time::sleep(REST).await,
        }
    }
}

#[allow(
    unsafe_code,
    reason = "tokio leaves it to the caller that the descriptor stays the same"
)]
fn listen() -> std::io::Result<AsyncFd<RulesetEvents>> {
    let news = RulesetEvents::open()?;
    // SAFETY: a `RulesetEvents` gives the descriptor of the socket that it owns, which is opened once and closed with it.
    let registered = unsafe { AsyncFd::register(news) };
    registered.map_err(Into::into)
}

/// Waits until a change of gantry's table was announced, or may have been.
async fn concerns(news: &mut AsyncFd<RulesetEvents>) {
    loop {
        let Ok(mut ready) = news.readable().await else {
            // The runtime is shutting down.
            return std::future::pending().await;
        };
        let taken = ready.get_inner().take();
        ready.clear_ready();
        match taken {
            Ok(false) => {}
            Ok(true) => return,
            Err(error) => {
                tracing::warn!(%error, "cannot read firewall changes; checking the rule instead");
                return;
            }
        }
    }
}

/// What a look at the rule found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Unchanged,
    Restored,
}

/// Sets the rule if it is missing. A failure is logged when it starts.
async fn look(failure: &mut LastLogged, was_there: bool) -> Look {
    let set = tokio::task::spawn_blocking(loopback_guard::ensure).await;
    match set.expect("talking to the kernel does not panic") {
        Ok(set) => {
            if set && was_there {
                tracing::warn!(
                    table = loopback_guard::TABLE,
                    "another program removed the rule that guards the host's loopback; the rule was restored"
                );
            }
            failure.clear();
            match set && was_there {
                true => Look::Restored,
                false => Look::Unchanged,
            }
        }
        Err(error) => {
            if failure.is_news(&()) {
                tracing::warn!(
                    %error,
                    "cannot guard the host's loopback; if route_localnet is set, pods and neighbors can reach \
                     services on 127.0.0.1"
                );
            }
            Look::Unchanged
        }
    }
}
