//! What pods were allotted, as it is kept in their directories.
//!
//! Only this agent writes the files, so one is read when its pod is first seen, and when the pod is asked for after
//! something was done for it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, io};

use crate::model::allocation::{Allocation, FILE};
use crate::model::pod::PodUid;
use crate::model::runtime::ObservedName;

/// What was read, by UID.
pub(super) struct Allocations {
    pods_dir: PathBuf,
    known: HashMap<PodUid, Option<Arc<Allocation>>>,
}

impl Allocations {
    /// Nothing is read yet.
    pub(super) fn new(pods_dir: PathBuf) -> Allocations {
        Allocations {
            pods_dir,
            known: HashMap::new(),
        }
    }

    /// Has those of a pod name be read anew.
    pub(super) fn forget(&mut self, name: &ObservedName) {
        for uid in name.uids.keys() {
            self.known.remove(uid);
        }
    }

    /// Forgets those of pods that are gone.
    pub(super) fn retain(&mut self, uids: &HashSet<&PodUid>) {
        self.known.retain(|uid, _| uids.contains(uid));
    }

    /// Puts them where they belong.
    pub(super) fn fill(&mut self, observed: &mut Arc<ObservedName>) {
        let mut differ = Vec::new();
        for (uid, pod) in &observed.uids {
            let known = self.known.entry(uid.clone());
            let pods_dir = &self.pods_dir;
            let allocation = known.or_insert_with(|| read(pods_dir.join(&uid.0).join(FILE)));
            if *allocation != pod.allocation {
                differ.push((uid.clone(), allocation.clone()));
            }
        }
        if differ.is_empty() {
            return;
        }
        let pods = &mut Arc::make_mut(observed).uids;
        for (uid, allocation) in differ {
            if let Some(pod) = pods.get_mut(&uid) {
                pod.allocation = allocation;
            }
        }
    }
}

/// One that cannot be read is as good as none: the pod then has what its specification asks for.
fn read(path: PathBuf) -> Option<Arc<Allocation>> {
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what a pod was allotted cannot be read");
            return None;
        }
    };
    match serde_json::from_slice(&text) {
        Ok(allocation) => Some(Arc::new(allocation)),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what a pod was allotted cannot be understood");
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
        let mut allocations = Allocations::new(root.path().to_owned());
        let mut observed = Arc::new(sample::observed(vec![sample::sandbox(0, true, 0)], vec![]));
        let found = |observed: &ObservedName| observed.uids[&sample::uid("u1")].allocation.clone();
        allocations.fill(&mut observed);
        assert_eq!(found(&observed), None);
        let write = |text: &str| {
            fs::create_dir_all(root.path().join("u1")).unwrap();
            fs::write(root.path().join("u1").join(FILE), text).unwrap();
        };
        write(r#"{"generation":2,"containers":{}}"#);
        allocations.fill(&mut observed);
        assert_eq!(found(&observed), None, "it is not read again unasked");
        allocations.forget(&observed);
        allocations.fill(&mut observed);
        assert_eq!(found(&observed).map(|found| found.generation), Some(2));
        write("{");
        allocations.retain(&HashSet::new());
        allocations.fill(&mut observed);
        assert_eq!(found(&observed), None);
    }
}
