//! Says which images are being pulled for pods, and how far that is. Clones say it of the same pulls.

use jiff::Timestamp;
use tokio::sync::watch;

use crate::model::image_progress::Progress;
use crate::model::pod::PodUid;
use crate::model::pull_work::{PodPull, PullWork};

/// Where it is said.
#[derive(Debug, Clone)]
pub struct PullsAtWork(watch::Sender<PullWork>);

impl Default for PullsAtWork {
    fn default() -> PullsAtWork {
        PullsAtWork(watch::channel(PullWork::default()).0)
    }
}

impl PullsAtWork {
    /// The readers ask when they want to know: a change wakes nobody.
    pub fn read(&self) -> watch::Receiver<PullWork> {
        self.0.subscribe()
    }

    /// A pull begins to wait for its turn; it ends when what is returned is dropped.
    pub(super) fn begin(&self, uid: &PodUid, image: &str) -> Pulling {
        let pull = PodPull {
            uid: uid.clone(),
            image: image.to_owned(),
            since: Timestamp::now(),
            progress: Progress::default(),
        };
        let mut number = 0;
        self.0.send_modify(|all| {
            number = all.of_pods.keys().next_back().map_or(0, |last| last + 1);
            all.of_pods.insert(number, pull);
        });
        Pulling {
            all: self.0.clone(),
            number,
        }
    }
}

/// A pull that has begun and not ended.
#[derive(Debug)]
pub(super) struct Pulling {
    all: watch::Sender<PullWork>,
    number: u64,
}

impl Pulling {
    /// It has come so far.
    pub(super) fn reached(&self, progress: Progress) {
        self.all.send_modify(|all| {
            if let Some(pull) = all.of_pods.get_mut(&self.number) {
                pull.progress = progress;
            }
        });
    }

    /// How far it has come.
    pub(super) fn progress(&self) -> Progress {
        let all = self.all.borrow();
        let pull = all.of_pods.get(&self.number);
        pull.map(|pull| pull.progress).unwrap_or_default()
    }
}

impl Drop for Pulling {
    fn drop(&mut self) {
        self.all.send_modify(|all| {
            all.of_pods.remove(&self.number);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::image_progress::Phase;

    #[test]
    fn a_pull_is_known_from_its_beginning_to_its_end() {
        let at_work = PullsAtWork::default();
        let known = at_work.read();
        let pod = PodUid("u1".to_owned());
        let first = at_work.begin(&pod, "demo:1");
        let other = at_work.begin(&pod, "demo:1");
        let half = Progress::of_bytes(Phase::Downloading, 5, Some(10));
        other.reached(half);
        assert_eq!((first.progress(), other.progress()), (Progress::default(), half));
        drop(first);
        let left: Vec<Progress> = known
            .borrow()
            .of_pods
            .values()
            .map(|pull| pull.progress)
            .collect();
        assert_eq!(left, [half]);
        drop(other);
        assert_eq!(*known.borrow(), PullWork::default());
    }
}
