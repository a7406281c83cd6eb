//! Which volumes of a running pod are to be enlarged (`pkg/volume/util/operationexecutor/node_expander.go`).

use super::content::Origin;
use super::volume;
use crate::model::driver::Ability;
use crate::model::expansion::{Expansion, ExpansionRequest};
use crate::model::memory::{FailedWork, PodMemory};
use crate::model::object::lookup::Lookup;
use crate::model::persistent::PersistentSource;
use crate::model::pod::{Volume, VolumeSource};
use crate::model::quantity;
use crate::model::reference;
use crate::model::request::VolumeKind;
use crate::model::resources::Bytes;
use jiff::Timestamp;

/// The volumes to enlarge now: those whose claims wait for the node, but for those that have been enlarged, or failed a
/// moment ago; and when the first of those is tried again.
pub(super) fn due(
    origin: Origin<'_>,
    memory: &PodMemory,
    now: Timestamp,
) -> (Vec<ExpansionRequest>, Option<Timestamp>) {
    let wanted = origin
        .pod
        .volumes
        .iter()
        .filter_map(|volume| request(origin, volume));
    let is_done =
        |request: &ExpansionRequest| memory.expanded.get(&request.volume) == Some(&request.expansion);
    let mut due = Vec::new();
    let mut retry = None;
    for request in wanted.filter(|request| !is_done(request)) {
        let work = FailedWork::Expansion(request.volume.clone());
        match memory.retried_at(&work, now) {
            Some(at) => retry = retry.into_iter().chain([at]).min(),
            None => due.push(request),
        }
    }
    (due, retry)
}

fn request(origin: Origin<'_>, volume: &Volume) -> Option<ExpansionRequest> {
    let VolumeSource::Claim { claim, .. } = &volume.source else {
        return None;
    };
    let key = reference::claim(origin.pod, claim);
    let Lookup::Found(claim) = origin.objects.claim(key.clone()) else {
        return None;
    };
    let Lookup::Found(persistent) = origin.objects.persistent_volume(claim.bound_to().ok()?) else {
        return None;
    };
    let PersistentSource::Csi(source) = &persistent.source else {
        return None;
    };
    let bytes = |size: &str| quantity::parse(size).ok()?.units();
    let size = bytes(&persistent.capacity)?;
    // The volume that is known may be older than the claim.
    if size < bytes(claim.grows_to.as_ref()?)? {
        return None;
    }
    let VolumeKind::Csi(csi) = volume::kind_of(origin, volume)? else {
        return None;
    };
    if !csi.registered.can(Ability::Expand) {
        return None;
    }
    let secret = source.expand_secret.as_ref();
    let secrets = secret.map(|name| origin.objects.secret(&name.namespace, &name.name));
    let secrets = match secrets {
        None => Default::default(),
        Some(Lookup::Found(secret)) => secret.data.clone(),
        // It is asked for, and its arrival wakes the pod.
        Some(_) => return None,
    };
    Some(ExpansionRequest {
        volume: volume.name.clone(),
        bytes: Bytes(size),
        expansion: Expansion {
            claim: key,
            uid: claim.uid.clone(),
            volume: claim.volume.clone(),
            size: persistent.capacity.clone(),
        },
        csi,
        secrets,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::csi::{CsiDriver, CsiSource};
    use crate::model::driver::Driver;
    use crate::model::object::{Known, Object, Objects, Reference};
    use crate::model::persistent::{Claim, PersistentVolume};
    use crate::model::pod::{ClaimOrigin, PodUid, RestartPolicy};
    use crate::model::sample::{self, at};

    /// The sizes to which volumes are enlarged, where the claim grows to the one and the PersistentVolume has the other.
    fn sizes(grows_to: Option<&str>, capacity: &str, done: Option<&str>) -> Vec<i64> {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        pod.volumes.push(Volume {
            name: "v".to_owned(),
            source: VolumeSource::Claim {
                claim: "data".to_owned(),
                read_only: false,
                origin: ClaimOrigin::Named,
            },
        });
        let claim = Claim {
            uid: "c1".to_owned(),
            is_bound: true,
            volume: "pv".to_owned(),
            grows_to: grows_to.map(str::to_owned),
            ..Claim::default()
        };
        let volume = PersistentVolume {
            claim: Some("c1".to_owned()),
            is_block: false,
            affinity: None,
            capacity: capacity.to_owned(),
            access: Vec::new(),
            mount_options: Vec::new(),
            source: PersistentSource::Csi(Box::new(CsiSource {
                driver: "d".to_owned(),
                ..CsiSource::default()
            })),
        };
        let driver = Driver {
            abilities: [Ability::Expand].into(),
            ..Driver::default()
        };
        let described = CsiDriver {
            attaches: false,
            ..CsiDriver::default()
        };
        let found = |object| Known::Found(Arc::new(object));
        let key = reference::claim(&pod, "data");
        let objects = Objects::from_iter([
            (Reference::Claim(key.clone()), found(Object::Claim(claim))),
            (
                Reference::PersistentVolume("pv".to_owned()),
                found(Object::PersistentVolume(volume)),
            ),
            (
                Reference::Driver("d".to_owned()),
                found(Object::Driver(driver.into())),
            ),
            (
                Reference::CsiDriver("d".to_owned()),
                found(Object::CsiDriver(described)),
            ),
        ]);
        let mut memory = PodMemory::new(PodUid("u1".to_owned()), at(0));
        if let Some(size) = done {
            let expansion = Expansion {
                claim: key,
                uid: "c1".to_owned(),
                volume: "pv".to_owned(),
                size: size.to_owned(),
            };
            memory.expanded.insert("v".to_owned(), expansion);
        }
        let origin = Origin {
            objects: &objects,
            ..Origin::sample(&pod)
        };
        let (requests, _) = due(origin, &memory, at(0));
        requests.iter().map(|request| request.bytes.0).collect()
    }

    #[test]
    fn a_volume_is_enlarged_once_to_what_its_claim_waits_for() {
        assert_eq!(sizes(None, "2Mi", None), Vec::<i64>::new());
        assert_eq!(sizes(Some("2Mi"), "2Mi", None), [2 << 20]);
        // What is known of the volume is older than the claim.
        assert_eq!(sizes(Some("2Mi"), "1Mi", None), Vec::<i64>::new());
        // A driver may make it larger than it was asked to.
        assert_eq!(sizes(Some("2Mi"), "4Mi", None), [4 << 20]);
        assert_eq!(sizes(Some("2Mi"), "2Mi", Some("2Mi")), Vec::<i64>::new());
        assert_eq!(sizes(Some("4Mi"), "4Mi", Some("2Mi")), [4 << 20]);
    }
}
