//! Whether a container ended as it was attached to, so that what it printed was missed.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::model::runtime::Snapshot;
use crate::serve::containers::observed_end;

/// How long the runtime may take to report the end of a process whose output has ended. containerd does so when it
/// handles the event: some milliseconds later, on a busy machine a second.
const REPORT: Duration = Duration::from_secs(5);

/// How long after the moment a process may end that printed before. The shim notes the end when it is given processor
/// time.
const LATE: SignedDuration = SignedDuration::from_secs(2);

/// Whether the container of this ID ended before the moment at which it was attached to, or right after it. Its end is
/// waited for: its output has just ended.
pub(super) async fn ended_at(
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    id: &str,
    moment: Timestamp,
) -> bool {
    let mut finished = None;
    let reported = snapshots.wait_for(|snapshot| {
        finished = observed_end(snapshot, id);
        finished.is_some()
    });
    // One that closed its output and goes on is not reported.
    let _ = tokio::time::timeout(REPORT, reported).await;
    finished.is_some_and(|finished| finished.duration_since(moment) < LATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::runtime::ContainerState;
    use crate::model::sample;

    fn snapshot(state: ContainerState) -> Arc<Snapshot> {
        let mut container = sample::instance("c", 0, 1, state);
        container.id = "id".to_owned();
        let observed = sample::observed(vec![sample::sandbox(0, true, 1)], vec![container]);
        Arc::new(Snapshot {
            pods: [(sample::name(), Arc::new(observed))].into(),
            ..Snapshot::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_end_about_the_moment_counts_and_it_may_be_reported_later() {
        let running = snapshot(sample::running(1));
        let check = async |first: &Arc<Snapshot>, then: Option<Arc<Snapshot>>, id: &str| {
            let (sender, receiver) = watch::channel(Arc::clone(first));
            let asked = ended_at(receiver, id, sample::at(10));
            let reported = async {
                if let Some(then) = then {
                    tokio::time::sleep(REPORT / 2).await;
                    sender.send_replace(then);
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                answer = asked => answer,
                () = reported => unreachable!("it has no end"),
            }
        };
        assert!(check(&snapshot(sample::exited(1, 9, 0)), None, "id").await);
        assert!(check(&running, Some(snapshot(sample::exited(1, 9, 0))), "id").await);
        assert!(!check(&running, Some(snapshot(sample::exited(1, 12, 0))), "id").await);
        assert!(!check(&running, None, "id").await);
        assert!(!check(&running, None, "other").await);
    }
}
