//! Validates a container: its name, image, ports, environment and mounts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, ContainerPort, EnvVar, PodSpec, Volume, VolumeMount};

use super::{probe, projected, resources, restart, security};
use crate::manifest::context::ManifestContext;
use crate::manifest::path::{Faults, FieldPath};
use crate::manifest::{image, names};
use crate::model::image_ref::ImageRef;

/// Notes what is wrong with a container, or an init container.
pub(crate) fn container(
    container: &Container,
    spec: &PodSpec,
    context: &ManifestContext,
    init: bool,
    at: &FieldPath,
    faults: &mut Faults,
) {
    if container.name.is_empty() {
        faults.add(&at.field("name"), "is missing: every container has a name");
    } else {
        faults.complain(
            &at.field("name"),
            &container.name,
            names::dns_label(&container.name),
        );
    }
    image_of(container, &at.field("image"), faults);
    paths_and_policies(container, at, faults);
    ports(
        container.ports.as_deref().unwrap_or(&[]),
        spec,
        init,
        &at.field("ports"),
        faults,
    );
    env(container.env.as_deref().unwrap_or(&[]), &at.field("env"), faults);
    projected::environment(container, spec, at, faults);
    mounts(container, spec, &at.field("volumeMounts"), faults);
    devices(container, spec, &at.field("volumeDevices"), faults);
    if let Some(resources) = &container.resources {
        resources::container(resources, &at.field("resources"), faults);
    }
    probe::container(container, spec, init, at, faults);
    restart::container(container, at, faults);
    resize_policy(container, spec, init, &at.field("resizePolicy"), faults);
    if let Some(security) = &container.security_context {
        security::container(security, spec, context, &at.field("securityContext"), faults);
    }
}

fn image_of(container: &Container, at: &FieldPath, faults: &mut Faults) {
    let image = container.image.as_deref().unwrap_or("");
    if image.is_empty() {
        faults.add(
            at,
            "is missing: every container has an image (docker.io/library/busybox:1.36)",
        );
    } else if image.trim() != image {
        faults.add(
            at,
            format!("{image:?} has leading or trailing spaces: remove them"),
        );
    } else if let Err(error) = ImageRef::parse(image) {
        // It is still accepted: the container then waits with InvalidImageName.
        faults.warn(at, format!("{image:?} {}", image::complaint(&error)));
    }
}

fn paths_and_policies(container: &Container, at: &FieldPath, faults: &mut Faults) {
    let pull = container.image_pull_policy.as_deref().unwrap_or("");
    faults.one_of(
        &at.field("imagePullPolicy"),
        pull,
        &["Always", "IfNotPresent", "Never"],
    );
    let message = container.termination_message_policy.as_deref().unwrap_or("");
    faults.one_of(
        &at.field("terminationMessagePolicy"),
        message,
        &["File", "FallbackToLogsOnError"],
    );
    for (field, path) in [
        ("workingDir", &container.working_dir),
        ("terminationMessagePath", &container.termination_message_path),
    ] {
        if let Some(path) = path
            .as_deref()
            .filter(|path| !path.is_empty() && !path.starts_with('/'))
        {
            faults.warn(
                &at.field(field),
                format!("{path:?} is not an absolute path: start it with '/'"),
            );
        }
    }
}

fn ports(ports: &[ContainerPort], spec: &PodSpec, init: bool, at: &FieldPath, faults: &mut Faults) {
    let mut taken = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let at = at.index(index);
        let name = port.name.as_deref().unwrap_or("");
        if !name.is_empty() {
            faults.complain(&at.field("name"), name, names::port_name(name));
            if !taken.insert(name) {
                faults.add(
                    &at.field("name"),
                    format!("another port is already named {name:?}: names must differ"),
                );
            }
        }
        number(port.container_port, &at.field("containerPort"), faults);
        match port.host_port {
            None | Some(0) => {}
            Some(host) => {
                number(host, &at.field("hostPort"), faults);
                if spec.host_network == Some(true) && !init && host != port.container_port {
                    faults.add(
                        &at.field("hostPort"),
                        "must equal containerPort because hostNetwork is true",
                    );
                }
            }
        }
        if let Some(address) = port.host_ip.as_deref().filter(|ip| !ip.is_empty())
            && address.parse::<IpAddr>().is_err()
        {
            faults.unsupported(
                &at.field("hostIP"),
                format!("{address:?} is not an IP address (10.0.0.1, fd00::1)"),
            );
        }
        let protocol = port.protocol.as_deref().unwrap_or("");
        faults.one_of(&at.field("protocol"), protocol, &["TCP", "UDP", "SCTP"]);
    }
}

fn number(port: i32, at: &FieldPath, faults: &mut Faults) {
    if !(1..=65535).contains(&port) {
        faults.add(
            at,
            format!("{port} is not a valid port: it must be from 1 to 65535"),
        );
    }
}

/// Notes the host ports that are already in `taken`, by protocol, address and number.
pub(crate) fn host_ports(
    container: &Container,
    taken: &mut BTreeSet<(String, Option<IpAddr>, i32)>,
    at: &FieldPath,
    faults: &mut Faults,
) {
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let Some(host) = port.host_port.filter(|host| *host != 0) else {
            continue;
        };
        let protocol = port.protocol.clone().unwrap_or_default();
        let address = port.host_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
        let address = address.filter(|ip| !ip.is_unspecified());
        if !taken.insert((protocol.clone(), address, host)) {
            let at = at.field("ports").index(index).field("hostPort");
            faults.add(
                &at,
                format!("{host}/{protocol} is already used by another port of this pod"),
            );
        }
    }
}

fn env(env: &[EnvVar], at: &FieldPath, faults: &mut Faults) {
    let mut taken = BTreeSet::new();
    for (index, variable) in env.iter().enumerate() {
        let at = at.index(index);
        if variable.name.is_empty() {
            faults.add(&at.field("name"), "is missing: every variable has a name");
            continue;
        }
        faults.complain(&at.field("name"), &variable.name, names::env_name(&variable.name));
        if !taken.insert(variable.name.as_str()) {
            let message = format!(
                "{:?} is already set, and the later one is used: keep one of the two",
                variable.name
            );
            faults.warn(&at.field("name"), message);
        }
        if variable.value.is_some() && variable.value_from.is_some() {
            faults.add(
                &at.field("valueFrom"),
                "cannot be set together with value: keep one of the two",
            );
        }
    }
}

fn mounts(container: &Container, spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    let volumes: BTreeSet<&str> = spec.volumes.iter().flatten().map(|v| v.name.as_str()).collect();
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let at = at.index(index);
        if mount.name.is_empty() {
            faults.add(&at.field("name"), "is missing: it names the volume to mount");
        } else if !volumes.contains(mount.name.as_str()) {
            let message = format!("no volume is named {:?}: add it to spec.volumes", mount.name);
            faults.add(&at.field("name"), message);
        }
        let path = mount.mount_path.trim_matches('/').to_owned();
        if mount.mount_path.is_empty() {
            faults.add(
                &at.field("mountPath"),
                "is missing: it is the path in the container at which the volume is mounted",
            );
        } else if path.is_empty() {
            faults.warn(
                &at.field("mountPath"),
                "is the root directory, which no runtime mounts over: use a directory below it",
            );
        } else if let Some(other) = taken.insert(path, index) {
            let message = format!(
                "{:?} is already the path of volumeMounts[{other}]",
                mount.mount_path
            );
            faults.add(&at.field("mountPath"), message);
        }
        projected::sub_path(mount, &at, faults);
        propagation(mount, container, &at, faults);
    }
}

/// Volumes as devices: only a PersistentVolume can be one (`ValidateVolumeDevices` in `pkg/apis/core/validation`).
fn devices(container: &Container, spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    let mut taken = BTreeSet::new();
    for (index, device) in container.volume_devices.iter().flatten().enumerate() {
        let at = at.index(index);
        let volume = spec
            .volumes
            .iter()
            .flatten()
            .find(|volume| volume.name == device.name);
        let is_claim =
            |volume: &Volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some();
        match volume {
            None => {
                let message = format!("no volume is named {:?}: add it to spec.volumes", device.name);
                faults.add(&at.field("name"), message);
            }
            Some(volume) if !is_claim(volume) => faults.add(
                &at.field("name"),
                "is no persistentVolumeClaim or ephemeral volume, and only such a volume can be a device: mount it \
                 with volumeMounts",
            ),
            Some(_) => {}
        }
        let path = device.device_path.as_str();
        if path.is_empty() || path.split('/').any(|part| part == "..") {
            faults.add(
                &at.field("devicePath"),
                "must be the path of the device in the container, without '..'",
            );
        } else if !taken.insert(path) {
            let message = format!("{path:?} is already the path of another device");
            faults.add(&at.field("devicePath"), message);
        }
    }
}

fn propagation(mount: &VolumeMount, container: &Container, at: &FieldPath, faults: &mut Faults) {
    let privileged = container.security_context.as_ref().and_then(|s| s.privileged) == Some(true);
    let mode = mount.mount_propagation.as_deref();
    if let Some(mode) = mode {
        let at = at.field("mountPropagation");
        faults.one_of(&at, mode, &["None", "HostToContainer", "Bidirectional"]);
        if mode == "Bidirectional" && !privileged {
            faults.add(&at, "Bidirectional is only for privileged containers");
        }
    }
    if let Some(recursive) = mount.recursive_read_only.as_deref() {
        let at = at.field("recursiveReadOnly");
        faults.one_of(&at, recursive, &["Disabled", "IfPossible", "Enabled"]);
        if recursive != "Disabled" {
            if mount.read_only != Some(true) {
                faults.add(&at, "needs readOnly: true");
            }
            if mode.is_some_and(|mode| mode != "None") {
                faults.add(&at, "needs mountPropagation None");
            }
        }
    }
}

fn resize_policy(container: &Container, spec: &PodSpec, init: bool, at: &FieldPath, faults: &mut Faults) {
    let mut taken = BTreeSet::new();
    let sidecar = container.restart_policy.as_deref() == Some("Always");
    for (index, policy) in container.resize_policy.iter().flatten().enumerate() {
        let at = at.index(index);
        faults.one_of(
            &at.field("resourceName"),
            &policy.resource_name,
            &["cpu", "memory"],
        );
        faults.one_of(
            &at.field("restartPolicy"),
            &policy.restart_policy,
            &["NotRequired", "RestartContainer"],
        );
        if !taken.insert(policy.resource_name.as_str()) {
            let message = format!("{:?} is listed twice: keep one of the two", policy.resource_name);
            faults.add(&at.field("resourceName"), message);
        }
        let may_not = spec.restart_policy.as_deref() == Some("Never") || (init && !sidecar);
        if may_not && policy.restart_policy == "RestartContainer" {
            faults.add(
                &at.field("restartPolicy"),
                "must be NotRequired for a container that is not restarted",
            );
        }
    }
}
