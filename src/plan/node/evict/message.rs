//! What a pod's owner reads about its eviction, worded as in the kubelet (`evictionMessage` in
//! `pkg/kubelet/eviction/helpers.go`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container as ContainerObject, ResourceRequirements};

use crate::model::eviction::{EvictionThreshold, Starved};
use crate::model::measured::Measured;
use crate::model::pod::Pod;
use crate::model::pods_use::PodUse;

/// The message of the pod's status and event, and the annotations of the event.
pub(super) fn message(
    pod: &Pod,
    starved: Starved,
    met: &[&EvictionThreshold],
    measured: &Measured,
    used: Option<&PodUse>,
) -> (String, BTreeMap<String, String>) {
    let name = starved.as_str();
    let mut message = format!("The node was low on resource: {name}. ");
    let first = met.iter().find(|threshold| threshold.signal.starved() == starved);
    if let Some((threshold, room)) = first.and_then(|first| Some((first, measured.room(first.signal)?))) {
        let (value, available) = (
            threshold.value.quantity_of(room.capacity),
            starved.amount(room.available),
        );
        message += &format!("Threshold quantity: {value}, available: {available}. ");
    }
    let mut annotations = BTreeMap::new();
    let Some(used) = used else {
        return (message, annotations);
    };
    if let Some(request) = pod_request(pod, starved) {
        let usage = starved.amount(i64::try_from(used.working_set).unwrap_or(i64::MAX));
        message += &format!(
            "Pod {} was using {usage}, request is {request}, has larger consumption of {name}. ",
            pod.name.name
        );
        annotations.insert("offending_pod".to_owned(), pod.name.name.clone());
        annotations.insert("offending_pod_usage".to_owned(), usage);
    }
    let (mut names, mut usages) = (Vec::new(), Vec::new());
    for (container, usage) in offenders(pod, starved, used) {
        let usage = starved.amount(usage);
        let request = stated_request(pod, &container, name);
        message += &format!(
            "Container {container} was using {usage}, request is {request}, has larger consumption of {name}. "
        );
        names.push(container);
        usages.push(usage);
    }
    annotations.insert("offending_containers".to_owned(), names.join(","));
    annotations.insert("offending_containers_usage".to_owned(), usages.join(","));
    annotations.insert("starved_resource".to_owned(), name.to_owned());
    (message, annotations)
}

/// The containers that use more than they request, and how much.
fn offenders(pod: &Pod, starved: Starved, used: &PodUse) -> Vec<(String, i64)> {
    let known = used.containers.iter().filter_map(|(name, of_container)| {
        // A container that was added cannot request anything.
        let container = pod.own_container(name)?;
        let requests = &container.resources.requests;
        let (usage, request) = match starved {
            Starved::Memory => (of_container.working_set?, requests.memory_or_zero()),
            Starved::Storage => {
                let storage = used.storage.as_ref()?;
                let (layer, log) = (storage.layers.get(&of_container.id)?, storage.logs.get(name)?);
                let request = requests.ephemeral_storage.map_or(0, |bytes| bytes.0);
                (layer.bytes.saturating_add(log.bytes), request)
            }
            Starved::Inodes | Starved::Pids => return None,
        };
        let usage = i64::try_from(usage).unwrap_or(i64::MAX);
        (usage > request).then(|| (name.clone(), usage))
    });
    known.collect()
}

/// The memory that the pod itself requests.
fn pod_request(pod: &Pod, starved: Starved) -> Option<String> {
    let spec = pod.object.spec.as_ref().filter(|_| starved == Starved::Memory)?;
    stated(spec.resources.as_ref(), starved.as_str())
}

/// As the container's specification writes it.
fn stated_request(pod: &Pod, name: &str, resource: &str) -> String {
    let own = |container: &&ContainerObject| container.name == name;
    let found = pod.object.spec.as_ref().and_then(|spec| {
        let mut all = spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten());
        all.find(own)
    });
    let request = found.and_then(|container| stated(container.resources.as_ref(), resource));
    request.unwrap_or_else(|| "0".to_owned())
}

fn stated(resources: Option<&ResourceRequirements>, resource: &str) -> Option<String> {
    let requests = resources?.requests.as_ref()?;
    requests.get(resource).map(|quantity| quantity.0.clone())
}
