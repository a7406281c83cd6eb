//! Work that lasts is reported from time to time.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// After this long work is reported to last.
const FIRST: Duration = Duration::from_secs(60);
/// And then as often as this.
const EACH: Duration = Duration::from_secs(300);

/// Reports how long work has lasted, until dropped.
pub(super) async fn report(began: Instant, mut report: impl FnMut(Duration)) -> ! {
    let mut ticks = interval_at(began + FIRST, EACH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let at = ticks.tick().await;
        report(at.duration_since(began));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_is_reported_after_a_minute_and_then_every_five() {
        let check = async |lasts: u64, expected: &[u64]| {
            let mut reports = Vec::new();
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(lasts)) => {}
                never = report(Instant::now(), |after| reports.push(after.as_secs())) => never,
            }
            assert_eq!(reports, expected, "{lasts} s");
        };
        check(59, &[]).await;
        check(61, &[60]).await;
        check(700, &[60, 360, 660]).await;
    }
}
