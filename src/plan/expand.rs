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
    if !claim.is_growing {
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
        bytes: Bytes(quantity::parse(&persistent.capacity).ok()?.units()?),
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
