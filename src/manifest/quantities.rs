//! Quantities in their canonical form: a pod is published with those that the kubelet and the API server would show
//! (`1000m` is `1`, `1024Mi` is `1Gi`). Resource amounts are rounded up to thousandths (`SetDefaults_ResourceList`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, PodSpec, ResourceFieldSelector, ResourceRequirements, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::go_quantity::{Quantity, Rounding};
use crate::model::quantity;

/// Rewrites all quantities of a pod in canonical form.
pub(crate) fn write_canonically(spec: &mut PodSpec) {
    for container in spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten())
    {
        self::container(container);
    }
    if let Some(own) = &mut spec.resources {
        requirements(own);
    }
    list(&mut spec.overhead);
    spec.volumes.iter_mut().flatten().for_each(volume);
}

fn container(container: &mut Container) {
    if let Some(own) = &mut container.resources {
        requirements(own);
    }
    for variable in container.env.iter_mut().flatten() {
        if let Some(from) = &mut variable.value_from {
            divisor(from.resource_field_ref.as_mut());
        }
    }
}

fn volume(volume: &mut Volume) {
    if let Some(limit) = volume.empty_dir.as_mut().and_then(|own| own.size_limit.as_mut()) {
        one(limit, Rounding::None);
    }
    let files = |items: &mut Option<Vec<DownwardAPIVolumeFile>>| {
        for item in items.iter_mut().flatten() {
            divisor(item.resource_field_ref.as_mut());
        }
    };
    if let Some(own) = &mut volume.downward_api {
        files(&mut own.items);
    }
    for source in volume
        .projected
        .iter_mut()
        .flat_map(|own| own.sources.iter_mut().flatten())
    {
        if let Some(own) = &mut source.downward_api {
            files(&mut own.items);
        }
    }
}

/// A missing divisor is 0, and is published as such.
fn divisor(own: Option<&mut ResourceFieldSelector>) {
    if let Some(own) = own {
        one(
            own.divisor.get_or_insert_with(|| Text("0".to_owned())),
            Rounding::None,
        );
    }
}

fn requirements(own: &mut ResourceRequirements) {
    list(&mut own.limits);
    list(&mut own.requests);
}

fn list(amounts: &mut Option<BTreeMap<String, Text>>) {
    for text in amounts.iter_mut().flat_map(BTreeMap::values_mut) {
        one(text, Rounding::UpToMilli);
    }
}

/// A value that is not a quantity stays as it is; validation reports it.
fn one(text: &mut Text, rounding: Rounding) {
    if quantity::parse(&text.0).is_ok()
        && let Some(quantity) = Quantity::read(&text.0, rounding)
    {
        text.0 = quantity.canonical();
    }
}
