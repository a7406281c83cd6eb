//! The pods' checkpoints in their directories: the allocated resources, and what is needed to end the pod.
//!
//! Only this agent writes the files, so one is read when its pod is first seen, and when a read of the pod is requested
//! after work on it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, io};

use serde::de::DeserializeOwned;

use crate::model::allocation::{self, Allocation};
use crate::model::checkpoint::{self, Checkpoint};
use crate::model::pod::PodUid;
use crate::model::runtime::ObservedName;

/// What was read, by UID.
pub(super) struct PodFiles {
    pods_dir: PathBuf,
    known: HashMap<PodUid, Known>,
}

/// The checkpoints of one pod.
#[derive(Clone, PartialEq)]
struct Known {
    allocation: Option<Arc<Allocation>>,
    checkpoint: Option<Arc<Checkpoint>>,
}

impl PodFiles {
    /// Nothing is read yet.
    pub(super) fn new(pods_dir: PathBuf) -> PodFiles {
        PodFiles {
            pods_dir,
            known: HashMap::new(),
        }
    }

    /// Requests that those of a pod name are read again.
    pub(super) fn forget(&mut self, name: &ObservedName) {
        for uid in name.uids.keys() {
            self.known.remove(uid);
        }
    }

    /// Drops those of pods that a name no longer has. A pod may come back with the same UID, in a new directory.
    pub(super) fn forget_gone(&mut self, before: &ObservedName, now: Option<&ObservedName>) {
        for uid in before.uids.keys() {
            if now.is_none_or(|now| !now.uids.contains_key(uid)) {
                self.known.remove(uid);
            }
        }
    }

    /// Drops those of pods that are gone.
    pub(super) fn retain(&mut self, uids: &HashSet<&PodUid>) {
        self.known.retain(|uid, _| uids.contains(uid));
    }

    /// Adds them to the observed pods.
    pub(super) fn fill(&mut self, observed: &mut Arc<ObservedName>) {
        let mut differ = Vec::new();
        for (uid, pod) in &observed.uids {
            let known = self.known.entry(uid.clone());
            let dir = self.pods_dir.join(&uid.0);
            let known = known.or_insert_with(|| Known {
                allocation: read(dir.join(allocation::FILE)),
                checkpoint: read(dir.join(checkpoint::FILE)),
            });
            if known.allocation != pod.allocation || known.checkpoint != pod.checkpoint {
                differ.push((uid.clone(), known.clone()));
            }
        }
        if differ.is_empty() {
            return;
        }
        let pods = &mut Arc::make_mut(observed).uids;
        for (uid, known) in differ {
            if let Some(pod) = pods.get_mut(&uid) {
                pod.allocation = known.allocation;
                pod.checkpoint = known.checkpoint;
            }
        }
    }
}

/// An unreadable checkpoint counts as none: the pod then has the resources of its specification, and ends as its
/// containers were created.
fn read<T: DeserializeOwned>(path: PathBuf) -> Option<Arc<T>> {
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read a pod checkpoint");
            return None;
        }
    };
    match serde_json::from_slice(&text) {
        Ok(saved) => Some(Arc::new(saved)),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot parse a pod checkpoint");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample;

    #[test]
    fn a_file_is_read_when_its_pod_is_new_or_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let mut files = PodFiles::new(root.path().to_owned());
        let mut observed = Arc::new(sample::observed(vec![sample::sandbox(0, true, 0)], vec![]));
        let of_pod = |observed: &ObservedName| observed.uids[&sample::uid("u1")].clone();
        let found = |observed: &ObservedName| of_pod(observed).allocation;
        files.fill(&mut observed);
        assert_eq!(found(&observed), None);
        let write = |text: &str| {
            fs::create_dir_all(root.path().join("u1")).unwrap();
            fs::write(root.path().join("u1").join(allocation::FILE), text).unwrap();
        };
        write(r#"{"generation":2,"containers":{}}"#);
        files.fill(&mut observed);
        assert_eq!(found(&observed), None, "it is not read again unasked");
        files.forget(&observed);
        files.fill(&mut observed);
        assert_eq!(found(&observed).map(|found| found.generation), Some(2));
        let saved = root.path().join("u1").join(checkpoint::FILE);
        fs::write(saved, r#"{"sidecars":["s"]}"#).unwrap();
        files.forget(&observed);
        files.fill(&mut observed);
        assert_eq!(of_pod(&observed).checkpoint.unwrap().sidecars, ["s"]);
        // Gone, and back under the same UID.
        files.forget_gone(&observed, Some(&observed.clone()));
        files.fill(&mut observed);
        assert_eq!(of_pod(&observed).checkpoint.unwrap().sidecars, ["s"]);
        files.forget_gone(&observed, None);
        fs::remove_file(root.path().join("u1").join(checkpoint::FILE)).unwrap();
        files.fill(&mut observed);
        assert_eq!(of_pod(&observed).checkpoint, None);
        write("{");
        files.retain(&HashSet::new());
        files.fill(&mut observed);
        assert_eq!(found(&observed), None);
    }
}
