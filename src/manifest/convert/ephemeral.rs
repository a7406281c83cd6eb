//! Ephemeral containers, which have a type of their own in Kubernetes: a container without the fields that only regular
//! containers may have, plus its target container.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer};

use crate::model::pod;

/// Converts them like other containers, and adds the target container of each.
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

/// The fields that it shares with other containers.
pub(crate) fn common(own: &EphemeralContainer) -> Container {
    // Every field is named, so that a field that Kubernetes adds breaks the build here.
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
