//! Ephemeral containers, which Kubernetes has a type of its own for: a container without what only the pod's own
//! containers may have, and with the container that it is for.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer};

use crate::model::pod;

/// Converts them as containers are converted, and notes which container each is for.
pub(crate) fn convert(
    own: &[EphemeralContainer],
    containers: impl FnOnce(&[Container]) -> Vec<pod::Container>,
) -> Vec<pod::Container> {
    let common: Vec<_> = own.iter().map(common).collect();
    let mut converted = containers(&common);
    for (container, own) in converted.iter_mut().zip(own) {
        container.target = own.target_container_name.clone().filter(|name| !name.is_empty());
    }
    converted
}

/// What one has in common with the pod's own containers.
pub(crate) fn common(own: &EphemeralContainer) -> Container {
    // Every field by its name, so that one that Kubernetes adds is not forgotten here.
    let EphemeralContainer {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        lifecycle,
        liveness_probe,
        name,
        ports,
        readiness_probe,
        resize_policy,
        resources,
        restart_policy,
        restart_policy_rules,
        security_context,
        startup_probe,
        stdin,
        stdin_once,
        target_container_name: _,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
    } = own.clone();
    Container {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        lifecycle,
        liveness_probe,
        name,
        ports,
        readiness_probe,
        resize_policy,
        resources,
        restart_policy,
        restart_policy_rules,
        security_context,
        startup_probe,
        stdin,
        stdin_once,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
    }
}
