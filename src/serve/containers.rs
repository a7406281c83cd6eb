//! The containers of a reported pod.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec};

use super::answer::Refusal;
use crate::model::runtime::{ContainerState, Snapshot};

/// The statuses of all containers of a pod.
pub(crate) fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    fn each(list: &Option<Vec<ContainerStatus>>) -> impl Iterator<Item = &ContainerStatus> {
        list.iter().flatten()
    }
    pod.status.iter().flat_map(|status| {
        each(&status.container_statuses)
            .chain(each(&status.init_container_statuses))
            .chain(each(&status.ephemeral_container_statuses))
    })
}

/// The names of all containers in the pod's specification, regular containers first.
pub(crate) fn container_names(pod: &Pod) -> Vec<&str> {
    let spec = pod.spec.as_ref();
    let main = spec.into_iter().flat_map(|spec| &spec.containers);
    let init = spec
        .into_iter()
        .flat_map(|spec| spec.init_containers.iter().flatten());
    let added = spec
        .into_iter()
        .flat_map(|spec| spec.ephemeral_containers.iter().flatten())
        .map(|container| container.name.as_str());
    let own = main.chain(init).map(|container| container.name.as_str());
    own.chain(added).collect()
}

/// The error for a container that the pod does not have.
pub(crate) fn no_container(pod: &Pod, container: &str) -> Refusal {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Refusal::BadRequest(format!(
        "container {container} is not valid for pod {name}: it has {}",
        container_names(pod).join(", ")
    ))
}

/// The ID without the prefix of the runtime's name.
pub(crate) fn bare_id(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_, bare)| bare)
}

/// When the container of this ID ended, as observed: a moment before the pod's status has it.
pub(crate) fn observed_end(snapshot: &Snapshot, id: &str) -> Option<Timestamp> {
    let pods = snapshot.pods.values().flat_map(|name| name.uids.values());
    let mut containers = pods.flat_map(|pod| &pod.containers);
    match containers.find(|container| container.id == id)?.state {
        ContainerState::Exited { finished, .. } => Some(finished),
        _ => None,
    }
}

/// The ID of a container while it is running, by the pod's status.
pub(crate) fn running_id(pod: &Pod, container: &str) -> Option<String> {
    let status = statuses(pod).find(|status| status.name == container)?;
    status.state.as_ref()?.running.as_ref()?;
    status.container_id.as_deref().map(|id| bare_id(id).to_owned())
}

/// The ID of a container that must be running, with errors that say what there is.
pub(crate) fn running(pod: &Pod, container: &str, what: &str) -> Result<String, Refusal> {
    if !container_names(pod).contains(&container) {
        return Err(no_container(pod, container));
    }
    running_id(pod, container).ok_or_else(|| {
        Refusal::Conflict(format!(
            "container {container} is not running; {what} requires a running container"
        ))
    })
}

/// Whether a container's specification asks for a terminal.
pub(crate) fn has_terminal(spec: &PodSpec, name: &str) -> bool {
    let inits = spec.init_containers.iter().flatten();
    let mut containers = spec.containers.iter().chain(inits);
    let mut added = spec.ephemeral_containers.iter().flatten();
    containers.any(|container| container.name == name && container.tty == Some(true))
        || added.any(|container| container.name == name && container.tty == Some(true))
}
