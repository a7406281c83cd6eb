//! Where the cgroups of pods are. Those of a pod that is observed as before are where they were.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::pod::PodUid;
use crate::model::runtime::ObservedName;

/// For how long after a pod was observed to have changed its limits may still change: of a resize that makes it smaller,
/// the pod's own cgroup is the last.
const CHANGING: Duration = Duration::from_secs(10);

/// The cgroups of a pod.
#[derive(Debug)]
pub(super) struct KnownPod {
    pub(super) observed: Arc<ObservedName>,
    /// The path of the pod's own; absent while it has none.
    pub(super) path: Option<String>,
    /// The paths of those in it, by the ID of their container.
    pub(super) containers: HashMap<String, String>,
    /// Limits that were read before are read again.
    pub(super) limits_since: Instant,
}

/// The pods of the last reading.
#[derive(Debug, Default)]
pub(super) struct KnownPods {
    known: HashMap<PodUid, KnownPod>,
    next: HashMap<PodUid, KnownPod>,
}

impl KnownPods {
    /// What is known of a pod that is observed as before, and of which all these containers have a cgroup. Otherwise `find`
    /// looks for them.
    pub(super) fn take<'a>(
        &mut self,
        (uid, observed): (&PodUid, &Arc<ObservedName>),
        mut containers: impl Iterator<Item = &'a str>,
        find: impl FnOnce() -> (Option<String>, HashMap<String, String>),
    ) -> KnownPod {
        let last = self.known.remove(uid);
        let limits_since = match &last {
            Some(last) if !Arc::ptr_eq(&last.observed, observed) => Instant::now() + CHANGING,
            Some(last) => last.limits_since,
            None => Instant::now(),
        };
        let mut is_complete = |last: &KnownPod| containers.all(|id| last.containers.contains_key(id));
        match last {
            Some(last) if Arc::ptr_eq(&last.observed, observed) && is_complete(&last) => last,
            _ => {
                let (path, containers) = find();
                KnownPod {
                    observed: Arc::clone(observed),
                    path,
                    containers,
                    limits_since,
                }
            }
        }
    }

    /// Remembers a pod of this reading.
    pub(super) fn put(&mut self, uid: &PodUid, pod: KnownPod) {
        self.next.insert(uid.clone(), pod);
    }

    /// Ends a reading: pods that were not in it are forgotten.
    pub(super) fn end(&mut self) {
        self.known = std::mem::take(&mut self.next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_looked_for_when_it_changed_or_a_container_has_no_cgroup() {
        let mut pods = KnownPods::default();
        let uid = PodUid("u1".to_owned());
        let mut check =
            |observed: &Arc<ObservedName>, containers: &[&str], found: &[&str], is_sought: bool| {
                let mut sought = false;
                let find = || {
                    sought = true;
                    let of = |id: &&str| ((*id).to_owned(), format!("/pod/{id}"));
                    (Some("/pod".to_owned()), found.iter().map(of).collect())
                };
                let pod = pods.take((&uid, observed), containers.iter().copied(), find);
                let since = pod.limits_since;
                pods.put(&uid, pod);
                pods.end();
                assert_eq!(sought, is_sought, "{containers:?}");
                since
            };
        let (one, other) = (Arc::default(), Arc::default());
        let first = check(&one, &["a"], &[], true);
        assert!(first <= Instant::now());
        check(&one, &["a"], &["a"], true);
        assert_eq!(check(&one, &["a"], &[], false), first);
        // It was resized, perhaps: limits are read now, and once more when that is over.
        assert!(check(&other, &["a"], &["a"], true) > Instant::now());
        check(&other, &["a", "b"], &["a"], true);
    }
}
