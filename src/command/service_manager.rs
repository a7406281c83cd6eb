//! What systemd is told about the agent (`sd_notify(3)`): that it is ready and alive, and how far a shutdown has come. Without
//! systemd nothing is sent.

use std::time::Duration;

use jiff::Timestamp;
use sd_notify::NotifyState;
use tokio::sync::watch;

use crate::agent::Running;
use crate::model::shutdown::ShutdownProgress;
use crate::serve::health::Health;

/// How often the status is sent while it says how many seconds are left.
const EVERY: Duration = Duration::from_secs(1);

/// The agent is ready. From now on systemd learns that its loops are alive, if its watchdog is enabled, and how far a
/// shutdown has come: `systemctl status` shows it.
pub(super) fn ready(running: Running) {
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    tokio::spawn(show_shutdown(running.shutdown));
    if let Some(limit) = sd_notify::watchdog_enabled() {
        tokio::spawn(feed_watchdog(running.health, limit));
    }
}

/// The agent stops.
pub(super) fn stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}

async fn feed_watchdog(health: Health, limit: Duration) {
    let mut tick = tokio::time::interval(limit / 3);
    loop {
        tick.tick().await;
        if let Err(error) = health.check() {
            tracing::error!(
                error,
                "a loop is stuck; not notifying the systemd watchdog, so systemd will restart the agent"
            );
            continue;
        }
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
    }
}

async fn show_shutdown(mut shutdown: watch::Receiver<Option<ShutdownProgress>>) {
    loop {
        let progress = *shutdown.borrow_and_update();
        let counts_down = progress.is_some_and(|progress| !progress.is_over());
        // Both arms may be dropped: the watch keeps what was not taken.
        let changed = tokio::select! {
            changed = shutdown.changed() => changed,
            () = tokio::time::sleep(EVERY), if counts_down => Ok(()),
        };
        if changed.is_err() {
            return;
        }
        let _ = sd_notify::notify(&[NotifyState::Status(&status(*shutdown.borrow(), Timestamp::now()))]);
    }
}

/// The line that `systemctl status` shows; empty where there is nothing to say.
fn status(progress: Option<ShutdownProgress>, now: Timestamp) -> String {
    progress.map_or(String::new(), |progress| progress.at(now).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::at;
    use crate::model::shutdown::ShutdownStage;

    #[test]
    fn a_cancelled_shutdown_leaves_no_status() {
        let progress = ShutdownProgress {
            since: at(0),
            pods: 2,
            ended: 2,
            stage: ShutdownStage::Over,
        };
        assert_eq!(
            status(Some(progress), at(1)),
            "Shutting down: 2 of 2 pods have ended"
        );
        assert_eq!(status(None, at(1)), "");
    }
}
