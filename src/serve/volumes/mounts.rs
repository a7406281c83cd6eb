//! Where the containers of a pod have a volume, and since when they run. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec, VolumeDevice, VolumeMount};

use super::wire::ContainerMount;

/// What a container of any kind mounts.
struct Mounting<'a> {
    container: &'a str,
    mounts: &'a [VolumeMount],
    devices: &'a [VolumeDevice],
}

fn all(spec: &PodSpec) -> Vec<Mounting<'_>> {
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let own = init.iter().chain(&spec.containers).map(|container| Mounting {
        container: &container.name,
        mounts: container.volume_mounts.as_deref().unwrap_or_default(),
        devices: container.volume_devices.as_deref().unwrap_or_default(),
    });
    let added = spec.ephemeral_containers.as_deref().unwrap_or_default();
    let added = added.iter().map(|container| Mounting {
        container: &container.name,
        mounts: container.volume_mounts.as_deref().unwrap_or_default(),
        devices: container.volume_devices.as_deref().unwrap_or_default(),
    });
    own.chain(added).collect()
}

/// Where containers have the volume of this name, which may be read-only whatever they state.
pub(super) fn of_volume(spec: &PodSpec, volume: &str, is_read_only: bool) -> Vec<ContainerMount> {
    let mut found = Vec::new();
    for Mounting {
        container,
        mounts,
        devices,
    } in all(spec)
    {
        let mounts = mounts.iter().filter(|mount| mount.name == volume);
        found.extend(mounts.map(|mount| {
            let part = mount.sub_path.as_ref().or(mount.sub_path_expr.as_ref());
            ContainerMount {
                container: container.to_owned(),
                path: mount.mount_path.clone(),
                read_only: is_read_only || mount.read_only == Some(true),
                sub_path: part.filter(|part| !part.is_empty()).cloned(),
                is_device: false,
            }
        }));
        let devices = devices.iter().filter(|device| device.name == volume);
        found.extend(devices.map(|device| ContainerMount {
            container: container.to_owned(),
            path: device.device_path.clone(),
            read_only: is_read_only,
            sub_path: None,
            is_device: true,
        }));
    }
    found
}

/// Since when one of these containers runs.
pub(super) fn running_since(pod: &Pod, mounts: &[ContainerMount]) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let all = [
        &status.init_container_statuses,
        &status.container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let since = |status: &ContainerStatus| {
        mounts.iter().find(|mount| mount.container == status.name)?;
        let running = status.state.as_ref()?.running.as_ref()?;
        Some(running.started_at.as_ref()?.0)
    };
    all.into_iter().flatten().flatten().filter_map(since).min()
}
