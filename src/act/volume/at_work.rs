//! Says what is being done with volumes at this moment. Clones say it of the same volumes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::model::pod::PodUid;
use crate::model::volume_work::{Awaited, Goal, Staged, Unstaging, VolumeWork, Wait};

/// Where it is said.
#[derive(Debug, Clone)]
pub struct AtWork(watch::Sender<VolumeWork>);

impl Default for AtWork {
    fn default() -> AtWork {
        AtWork(watch::channel(VolumeWork::default()).0)
    }
}

impl AtWork {
    /// The readers ask when they want to know: a change wakes nobody.
    pub fn read(&self) -> watch::Receiver<VolumeWork> {
        self.0.subscribe()
    }

    /// Work on a volume begins; it ends when what is returned is dropped.
    pub(in crate::act) fn begin(&self, pod: &PodUid, path: &Path, goal: Goal, awaited: Awaited) -> Working {
        let key = (pod.clone(), path.to_owned());
        let wait = Wait {
            goal,
            awaited,
            since: Timestamp::now(),
        };
        self.0.send_modify(|all| {
            all.of_pods.insert(key.clone(), wait);
        });
        Working {
            all: self.0.clone(),
            key,
        }
    }

    /// How far a volume is that no pod uses.
    pub(super) fn unstaging(&self, volume: Staged, how_far: Unstaging) {
        self.0.send_modify(|all| {
            all.unstaging.insert(volume, how_far);
        });
    }

    /// No others are to be unstaged any more.
    pub(super) fn only_unstaging(&self, volumes: &BTreeSet<Staged>) {
        self.0
            .send_modify(|all| all.unstaging.retain(|volume, _| volumes.contains(volume)));
    }
}

/// Work on a volume that has begun and not ended.
#[derive(Debug)]
pub(in crate::act) struct Working {
    all: watch::Sender<VolumeWork>,
    key: (PodUid, PathBuf),
}

impl Working {
    /// It waits for this from now on.
    pub(in crate::act) fn waits_for(&self, awaited: Awaited) {
        self.all.send_modify(|all| {
            if let Some(wait) = all.of_pods.get_mut(&self.key) {
                wait.awaited = awaited;
            }
        });
    }

    /// What it waits for, in words that follow `waiting for`.
    pub(in crate::act) fn awaited(&self) -> String {
        let all = self.all.borrow();
        let wait = all.of_pods.get(&self.key);
        wait.map(|wait| wait.awaited.text(&self.key.1))
            .unwrap_or_default()
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.all.send_modify(|all| {
            all.of_pods.remove(&self.key);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_known_from_its_beginning_to_its_end() {
        let at_work = AtWork::default();
        let known = at_work.read();
        let driver = |what| Awaited::Driver {
            what,
            driver: "d".to_owned(),
        };
        let pod = PodUid("u1".to_owned());
        let first = at_work.begin(&pod, Path::new("/a"), Goal::SetUp, driver("its turn"));
        let other = at_work.begin(&pod, Path::new("/b"), Goal::TakeDown, Awaited::FileSystem);
        first.waits_for(driver("NodePublishVolume"));
        assert_eq!(first.awaited(), "NodePublishVolume of driver d");
        assert_eq!(other.awaited(), "the file system at /b");
        drop(first);
        let left: Vec<Goal> = known.borrow().of_pods.values().map(|wait| wait.goal).collect();
        assert_eq!(left, [Goal::TakeDown]);
        drop(other);
        assert_eq!(*known.borrow(), VolumeWork::default());
    }
}
