//! Keeps the host's loopback to the host, whoever else connects pods and whoever flushes rules: the rule of
//! [`gantry_cni::loopback_guard`] stands before anything else is done, and is set again when it is gone.
//!
//! The kubelet looks once a minute (its canary, pkg/util/iptables/iptables.go `Monitor`). Here the kernel announces each
//! change of rules, and the look once a minute is for announcements that were lost.

use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use gantry_cni::loopback_guard::{self, News};

/// How often the rule is looked at though nothing was announced.
const LOOK: Duration = Duration::from_secs(60);
/// Between two looks: another program that takes the rule away as often as it is set must not take a processor.
const REST: Duration = Duration::from_millis(10);

/// Sets the rule. A failure is logged and no reason not to start: [`keep`] tries again.
pub(super) async fn stand() {
    look(&mut false, false).await;
}

/// Takes the rule away where the configuration does not want it (`makeIPTablesUtilChains: false`).
pub(super) async fn fall() {
    let removed = tokio::task::spawn_blocking(loopback_guard::remove).await;
    if let Err(error) = removed.expect("talking to the kernel does not panic") {
        tracing::warn!(%error, "the rule that guards the host's loopback is still there");
    }
}

/// Looks after the rule until cancelled.
pub(super) async fn keep(cancel: CancellationToken) {
    let mut news = listen();
    if let Err(error) = &news {
        tracing::warn!(%error, "changes of the firewall are noticed once a minute only");
    }
    let mut failed = false;
    loop {
        // What changed since the start, or before the news were listened to, is seen now.
        look(&mut failed, true).await;
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
fn listen() -> std::io::Result<AsyncFd<News>> {
    let news = News::open()?;
    // SAFETY: a `News` gives the descriptor of the socket that it owns, which is opened once and closed with it.
    let registered = unsafe { AsyncFd::register(news) };
    registered.map_err(Into::into)
}

/// Waits until a change of our table was announced, or may have been.
async fn concerns(news: &mut AsyncFd<News>) {
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
                tracing::warn!(%error, "changes of the firewall cannot be read: the rules are looked at instead");
                return;
            }
        }
    }
}

/// Sets the rule where it is not there. A failure is logged when it begins.
async fn look(failed: &mut bool, was_there: bool) {
    let set = tokio::task::spawn_blocking(loopback_guard::ensure).await;
    match set.expect("talking to the kernel does not panic") {
        Ok(set) => {
            if set && was_there {
                tracing::warn!(
                    table = loopback_guard::TABLE,
                    "another program removed the rule that guards the host's loopback: it is set again"
                );
            }
            *failed = false;
        }
        Err(error) => {
            if !*failed {
                tracing::warn!(
                    %error,
                    "the host's loopback is not guarded: where route_localnet is set, pods and neighbours reach what \
                     listens on 127.0.0.1"
                );
            }
            *failed = true;
        }
    }
}
