//! Which volumes of a running pod are published again, for drivers whose contents or credentials change
//! (`requiresRepublish` of a CSIDriver; `MarkRemountRequired` in `pkg/kubelet/volumemanager/cache`).

use jiff::Timestamp;

use super::content::Origin;
use super::{claim, volume};
use crate::model::csi_request::Publishing;
use crate::model::memory::{FailedWork, PodMemory};
use crate::model::object::lookup::Lookup;
use crate::model::pod::{Volume, VolumeSource};
use crate::model::request::{VolumeKind, VolumeRequest};

/// The volumes to publish again now, and when the next one is. After a start of the agent they all are: nobody knows how
/// long ago it was.
pub(super) fn due(
    origin: Origin<'_>,
    memory: &PodMemory,
    now: Timestamp,
) -> (Vec<VolumeRequest>, Option<Timestamp>) {
    let mut due = Vec::new();
    let mut next = None;
    if !origin.pod.volumes.iter().any(|volume| recurs(origin, volume)) {
        return (due, next);
    }
    let volumes = volume::used(origin.pod);
    for volume in volumes.into_iter().filter(|volume| recurs(origin, volume)) {
        let last = memory.published.get(&volume.name);
        let period = origin.policy.republish;
        let again = last.and_then(|last| last.checked_add(period).ok());
        let work = FailedWork::Republish(volume.name.clone());
        let at = again.max(memory.retried_at(&work, now));
        match at.filter(|at| *at > now) {
            Some(at) => next = next.into_iter().chain([at]).min(),
            None => due.extend(request(origin, volume)),
        }
    }
    (due, next)
}

/// Whether the volume's driver wants to be asked again.
fn recurs(origin: Origin<'_>, volume: &Volume) -> bool {
    let asks = |driver: &str| matches!(origin.objects.csi_driver(driver), Lookup::Found(driver) if driver.republishes);
    match &volume.source {
        VolumeSource::Csi(own) => asks(&own.driver),
        VolumeSource::Claim { .. } => {
            let resolved = claim::resolve(origin, volume).ok();
            resolved.is_some_and(|resolved| resolved.driver().is_some_and(asks))
        }
        _ => false,
    }
}

fn request(origin: Origin<'_>, volume: &Volume) -> Option<VolumeRequest> {
    let kind = match volume::kind_of(origin, volume)? {
        VolumeKind::Csi(mut csi) => {
            csi.publishing = Publishing::Again;
            VolumeKind::Csi(csi)
        }
        // Why it cannot be is an event.
        missing => missing,
    };
    Some(VolumeRequest {
        volume: volume.name.clone(),
        called: volume::called(origin, volume),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::model::csi::{CsiDriver, Lifecycle};
    use crate::model::driver::Driver;
    use crate::model::memory::{Backoff, PodFailure};
    use crate::model::object::{Known, Object, Reference};
    use crate::model::outcome::{Failure, StepError};
    use crate::model::pod::{Mount, PodUid, Propagation};
    use crate::model::reason;
    use crate::model::sample::{self, at};

    /// What is due at second 100 of a volume that was published and has failed then, and when the next one is.
    fn due_of(
        recurs: bool,
        registered: bool,
        published: Option<i64>,
        failed: Option<i64>,
    ) -> (Vec<String>, Option<i64>) {
        let (mut pod, mut objects) = sample::claims::pod();
        pod.containers[0].mounts = vec![Mount {
            volume: "i".to_owned(),
            sub_path: None,
            path: "/i".to_owned(),
            read_only: false,
            recursive_read_only: Default::default(),
            propagation: Propagation::None,
        }];
        let found = |object| Known::Found(Arc::new(object));
        let described = CsiDriver {
            lifecycles: vec![Lifecycle::Ephemeral],
            republishes: recurs,
            ..CsiDriver::default()
        };
        objects.insert(
            Reference::CsiDriver("d2".to_owned()),
            found(Object::CsiDriver(described)),
        );
        if registered {
            let driver = Driver::default();
            objects.insert(
                Reference::Driver("d2".to_owned()),
                found(Object::Driver(driver.into())),
            );
        }
        let mut memory = PodMemory::new(PodUid("u1".to_owned()), at(0));
        memory
            .published
            .extend(published.map(|seconds| ("i".to_owned(), at(seconds))));
        let failure = failed.map(|seconds| PodFailure {
            error: StepError {
                reason: reason::pod::FAILED_MOUNT,
                message: String::new(),
                failure: Failure::Failed,
            },
            backoff: Backoff {
                delay: Duration::from_secs(10),
                since: at(seconds),
            },
        });
        let failure = failure.map(|failure| (FailedWork::Republish("i".to_owned()), failure));
        memory.failures.extend(failure);
        let origin = Origin {
            objects: &objects,
            ..Origin::sample(&pod)
        };
        let (requests, next) = due(origin, &memory, at(100));
        let told = |request: VolumeRequest| match request.kind {
            VolumeKind::Csi(csi) => format!("{} {:?}", csi.name, csi.publishing),
            other => format!("{other:?}"),
        };
        let next = next.map(|next| next.as_second() - at(0).as_second());
        (requests.into_iter().map(told).collect(), next)
    }

    #[test]
    fn a_volume_is_published_again_as_often_as_pods_are_synced() {
        let now = vec!["i Again".to_owned()];
        assert_eq!(due_of(false, true, None, None), (vec![], None));
        assert_eq!(due_of(true, true, None, None), (now.clone(), None));
        assert_eq!(due_of(true, true, Some(41), None), (vec![], Some(101)));
        assert_eq!(due_of(true, true, Some(40), None), (now.clone(), None));
        // A failure delays the next attempt.
        assert_eq!(due_of(true, true, Some(40), Some(95)), (vec![], Some(105)));
        assert_eq!(due_of(true, true, Some(40), Some(90)), (now, None));
    }

    #[test]
    fn why_it_cannot_be_is_said() {
        let (told, _) = due_of(true, false, Some(40), None);
        assert!(
            told[0].contains("not found in the list of registered CSI drivers"),
            "{told:?}"
        );
    }
}
