//! The object of a pod as it is reported, beside its status: whether its deletion is finished, and its metadata. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::pod::is_alive;
use crate::model::memory::{PodMemory, Remains};
use crate::model::pod::Pod;
use crate::model::runtime::ObservedPod;

/// Whether a source wants a pod of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It accepts the certificate.
    Still,
    /// None does: what is left of the pod is being removed.
    NoMore,
}

impl Wanted {
    /// By whether a source has a pod of the name.
    pub fn by(is_wanted: bool) -> Wanted {
        match is_wanted {
            true => Wanted::Still,
            false => Wanted::NoMore,
        }
    }
}

/// Whether nothing of a pod that is being deleted runs, is mounted or has a cgroup any more, so that the API server may
/// remove its object (`PodCouldHaveRunningContainers` in `pkg/kubelet/kubelet_pods.go`).
pub fn is_finished(pod: &Pod, memory: Option<&PodMemory>, seen: Option<&ObservedPod>) -> bool {
    let is_cleared = memory.is_some_and(|memory| memory.remains != Remains::Everything);
    pod.deletion.is_some() && is_cleared && !is_alive(seen)
}

/// The metadata that is reported. A pod that no source wants is shown as being deleted, since `now` or since `former` said so.
/// A static pod has no recorded creation time: it is as old as its start.
pub fn metadata(
    pod: &Pod,
    former: Option<&api::Pod>,
    start: Option<&Time>,
    wanted: Wanted,
    now: Timestamp,
) -> ObjectMeta {
    let mut metadata = pod.object.metadata.clone();
    if wanted == Wanted::NoMore {
        let asked = former.and_then(|object| object.metadata.deletion_timestamp.clone());
        metadata.deletion_timestamp = Some(asked.unwrap_or(Time(now)));
        metadata.deletion_grace_period_seconds = i64::try_from(pod.grace.as_secs()).ok();
    }
    let created = metadata.creation_timestamp.take();
    metadata.creation_timestamp = created.or_else(|| start.cloned());
    metadata
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::model::pod::{Deletion, RestartPolicy};
    use crate::model::sample::{self, at};

    #[test]
    fn a_deletion_is_finished_when_the_pod_has_ended_and_was_cleared_away() {
        let check = |is_deleted: bool, remains: Option<Remains>, runs: bool| {
            let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
            pod.deletion = is_deleted.then(|| Deletion {
                asked: at(0),
                grace: Duration::from_secs(1),
            });
            let memory = remains.map(|remains| PodMemory {
                remains,
                ..PodMemory::new(pod.uid.clone(), at(0))
            });
            let state = match runs {
                true => sample::running(0),
                false => sample::exited(0, 1, 0),
            };
            let sandbox = sample::sandbox(0, runs, 0);
            let observed = sample::observed(vec![sandbox], vec![sample::instance("c", 0, 0, state)]);
            is_finished(&pod, memory.as_ref(), observed.uids.get(&pod.uid))
        };
        assert!(check(true, Some(Remains::Containers), false));
        assert!(check(true, Some(Remains::Nothing), false));
        assert!(
            !check(true, Some(Remains::Everything), false),
            "its volumes are there"
        );
        assert!(!check(true, Some(Remains::Containers), true), "it runs");
        assert!(
            !check(true, None, false),
            "this agent has done nothing about it yet"
        );
        assert!(
            !check(false, Some(Remains::Containers), false),
            "it is not being deleted"
        );
    }

    #[test]
    fn a_pod_that_no_source_wants_is_shown_as_being_deleted_since_it_was_first() {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let start = Time(at(3));
        let wanted = metadata(&pod, None, Some(&start), Wanted::Still, at(9));
        assert_eq!(
            (wanted.deletion_timestamp, wanted.creation_timestamp),
            (None, Some(start.clone()))
        );
        let first = metadata(&pod, None, Some(&start), Wanted::NoMore, at(9));
        assert_eq!(
            (
                first.deletion_timestamp.clone(),
                first.deletion_grace_period_seconds
            ),
            (Some(Time(at(9))), Some(5))
        );
        let former = api::Pod {
            metadata: first,
            ..api::Pod::default()
        };
        let later = metadata(&pod, Some(&former), Some(&start), Wanted::NoMore, at(20));
        assert_eq!(later.deletion_timestamp, Some(Time(at(9))));

        let created = Some(Time(at(1)));
        let object = Arc::make_mut(&mut pod.object);
        object.metadata.creation_timestamp = created.clone();
        let of_api = metadata(&pod, None, Some(&start), Wanted::Still, at(9));
        assert_eq!(of_api.creation_timestamp, created);
    }
}
