//! The defaults that the API server applies to a pod (`pkg/apis/core/v1/defaults.go`), applied to the object itself, so
//! that a published static pod is complete.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, EmptyDirVolumeSource, EphemeralContainer, HTTPGetAction, Pod,
    PodSecurityContext, PodSpec, Probe, ResourceRequirements, Volume,
};

use crate::model::image_ref::ImageRef;
use crate::model::iscsi::DEFAULT_INTERFACE;

/// The default grace period, in seconds.
const GRACE_SECONDS: i64 = 30;
/// Where a container leaves its termination message.
const TERMINATION_PATH: &str = "/dev/termination-log";

/// The default permissions of files from objects.
const DEFAULT_MODE: i32 = 0o644;

/// Applies all of them.
pub(crate) fn apply(pod: &mut Pod) {
    pod.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    let spec = pod.spec.get_or_insert_default();
    let host_network = spec.host_network.unwrap_or(false);
    for container in spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten())
    {
        apply_container(container, host_network);
    }
    for volume in spec.volumes.iter_mut().flatten() {
        apply_volume(volume);
    }
    apply_spec(spec);
}

fn apply_spec(spec: &mut PodSpec) {
    text(&mut spec.dns_policy, "ClusterFirst");
    text(&mut spec.restart_policy, "Always");
    text(&mut spec.scheduler_name, "default-scheduler");
    spec.termination_grace_period_seconds.get_or_insert(GRACE_SECONDS);
    spec.enable_service_links.get_or_insert(true);
    spec.security_context
        .get_or_insert_with(PodSecurityContext::default);
    spec.priority = spec.priority.or(match spec.priority_class_name.as_deref() {
        // As the priority admission plugin does for the classes that every cluster has.
        Some("system-node-critical") => Some(2_000_001_000),
        Some("system-cluster-critical") => Some(2_000_000_000),
        _ => None,
    });
    if spec.resources.is_some() {
        super::pod_resources::apply_defaults(spec);
    }
    if let Some(resources) = &mut spec.resources {
        requests_from_limits(resources);
    }
}

/// Applies those of an ephemeral container, which has no ports, probes or resources.
pub(crate) fn apply_ephemeral(container: &mut EphemeralContainer) {
    text(&mut container.termination_message_path, TERMINATION_PATH);
    text(&mut container.termination_message_policy, "File");
    pull_policy(&mut container.image_pull_policy, container.image.as_deref());
}

fn pull_policy(policy: &mut Option<String>, image: Option<&str>) {
    if policy.as_deref().unwrap_or("").is_empty() {
        // Validation reports a reference that cannot be parsed.
        let latest = ImageRef::parse(image.unwrap_or("")).is_ok_and(|reference| reference.is_latest());
        *policy = Some(if latest { "Always" } else { "IfNotPresent" }.to_owned());
    }
}

fn apply_container(container: &mut Container, host_network: bool) {
    text(&mut container.termination_message_path, TERMINATION_PATH);
    text(&mut container.termination_message_policy, "File");
    pull_policy(&mut container.image_pull_policy, container.image.as_deref());
    for port in container.ports.iter_mut().flatten() {
        text(&mut port.protocol, "TCP");
        if host_network && port.host_port.unwrap_or(0) == 0 {
            port.host_port = Some(port.container_port);
        }
    }
    if let Some(resources) = &mut container.resources {
        requests_from_limits(resources);
    }
    for probe in [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ]
    .into_iter()
    .flatten()
    {
        apply_probe(probe);
    }
    if let Some(lifecycle) = &mut container.lifecycle {
        let hooks = [&mut lifecycle.post_start, &mut lifecycle.pre_stop];
        for get in hooks
            .into_iter()
            .flatten()
            .filter_map(|hook| hook.http_get.as_mut())
        {
            apply_http_get(get);
        }
    }
    for env in container.env.iter_mut().flatten() {
        if let Some(field) = env.value_from.as_mut().and_then(|from| from.field_ref.as_mut()) {
            text(&mut field.api_version, "v1");
        }
    }
}

fn apply_probe(probe: &mut Probe) {
    for (field, default) in [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ] {
        // Zero counts as absent.
        *field = field.filter(|value| *value != 0).or(Some(default));
    }
    if let Some(get) = &mut probe.http_get {
        apply_http_get(get);
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn apply_http_get(get: &mut HTTPGetAction) {
    text(&mut get.path, "/");
    text(&mut get.scheme, "HTTP");
}

fn apply_volume(volume: &mut Volume) {
    let empty = Volume {
        name: volume.name.clone(),
        ..Volume::default()
    };
    if *volume == empty {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(iscsi) = &mut volume.iscsi {
        text(&mut iscsi.iscsi_interface, DEFAULT_INTERFACE);
    }
    if let Some(image) = &mut volume.image {
        pull_policy(&mut image.pull_policy, image.reference.as_deref());
    }
    let mode = |mode: &mut Option<i32>| {
        mode.get_or_insert(DEFAULT_MODE);
    };
    if let Some(own) = &mut volume.config_map {
        mode(&mut own.default_mode);
    }
    if let Some(own) = &mut volume.secret {
        mode(&mut own.default_mode);
    }
    let downward = |items: &mut Option<Vec<DownwardAPIVolumeFile>>| {
        for field in items
            .iter_mut()
            .flatten()
            .filter_map(|item| item.field_ref.as_mut())
        {
            text(&mut field.api_version, "v1");
        }
    };
    if let Some(own) = &mut volume.downward_api {
        mode(&mut own.default_mode);
        downward(&mut own.items);
    }
    if let Some(own) = &mut volume.projected {
        mode(&mut own.default_mode);
        for source in own.sources.iter_mut().flatten() {
            source
                .downward_api
                .iter_mut()
                .for_each(|own| downward(&mut own.items));
        }
    }
    if let Some(host_path) = &mut volume.host_path {
        host_path.type_.get_or_insert_default();
    }
}

/// A missing request defaults to the limit.
fn requests_from_limits(resources: &mut ResourceRequirements) {
    let Some(limits) = &resources.limits else {
        return;
    };
    let requests = resources.requests.get_or_insert_with(BTreeMap::new);
    for (name, limit) in limits {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
}

fn text(field: &mut Option<String>, default: &str) {
    if field.as_deref().unwrap_or("").is_empty() {
        *field = Some(default.to_owned());
    }
}
