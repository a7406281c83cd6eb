//! A pod of an API server with a volume of a driver behind a claim, and one of its own.

use std::sync::Arc;

use crate::model::csi::{CsiSource, InlineCsi};
use crate::model::object::{Known, Object, Objects, Reference};
use crate::model::persistent::{Claim, PersistentSource, PersistentVolume};
use crate::model::pod::{ClaimOrigin, Desired, Pod, RestartPolicy, Source, SourceSet, Volume, VolumeSource};
use crate::model::reference;

/// The pod: `v` is the claim `data`, which is bound to `pv` of the driver `d1`; `i` is a volume of the driver `d2`;
/// nobody knows the claim of `unknown`.
pub(crate) fn pod() -> (Pod, Objects) {
    let mut pod = super::pod(RestartPolicy::Always, &[], &["c"]);
    pod.source = Source::Api;
    let claim = |name: &str| VolumeSource::Claim {
        claim: name.to_owned(),
        read_only: false,
        origin: ClaimOrigin::Named,
    };
    let inline = InlineCsi {
        driver: "d2".to_owned(),
        ..InlineCsi::default()
    };
    let volumes = [
        ("v", claim("data")),
        ("unknown", claim("none")),
        ("i", VolumeSource::Csi(Box::new(inline))),
    ];
    let volumes = volumes.map(|(name, source)| Volume {
        name: name.to_owned(),
        source,
    });
    pod.volumes = volumes.into();
    let bound = Claim {
        is_bound: true,
        volume: "pv".to_owned(),
        ..Claim::default()
    };
    let source = CsiSource {
        driver: "d1".to_owned(),
        ..CsiSource::default()
    };
    let volume = PersistentVolume {
        claim: None,
        is_block: false,
        affinity: None,
        capacity: String::new(),
        access: Vec::new(),
        mount_options: Vec::new(),
        source: PersistentSource::Csi(Box::new(source)),
    };
    let mut objects = Objects::default();
    let key = Reference::Claim(reference::claim(&pod, "data"));
    objects.insert(key, Known::Found(Object::Claim(bound).into()));
    let key = Reference::PersistentVolume("pv".to_owned());
    objects.insert(key, Known::Found(Object::PersistentVolume(volume).into()));
    (pod, objects)
}

/// The same as what should run.
pub(crate) fn desired() -> Desired {
    let (pod, objects) = pod();
    let set = SourceSet {
        pods: [(pod.name.clone(), Arc::new(pod))].into(),
        objects,
        ..SourceSet::default()
    };
    Desired {
        api: Some(Arc::new(set)),
        api_expected: true,
        ..Desired::default()
    }
}
