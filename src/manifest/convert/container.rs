//! Converts a Kubernetes container to the container as this node understands it, merged with the pod's security
//! context.

use std::cell::Cell;
use std::collections::HashMap;

use k8s_openapi::api::core::v1 as k8s;

use super::resources::resources;
use super::{security, volume};
use crate::manifest::path::{Faults, FieldPath};
use crate::manifest::uid::fingerprint::container_hash;
use crate::model::bounds;
use crate::model::expand::expand;
use crate::model::pod::{
    Container, ContainerSecurity, Mount, OnResize, Port, Propagation, Protocol, PullPolicy,
    RecursiveReadOnly, ResizePolicy, RestartPolicy, VolumeDevice,
};
use crate::model::probe::{Hook, Lifecycle, Probe, Probes};
use crate::model::restart::{ExitCodes, RestartAction, RestartRule};
use crate::model::stop_signal::StopSignal;

/// The kind of a container in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// One of `containers`.
    Regular,
    /// One of `initContainers`.
    Init,
    /// One of `ephemeralContainers`: started once, whatever the policies say.
    Ephemeral,
}

impl Role {
    /// The field of the pod's specification that lists those.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Role::Regular => "containers",
            Role::Init => "initContainers",
            Role::Ephemeral => "ephemeralContainers",
        }
    }
}

/// Converts a container of a pod with this restart policy. `security` is its security context, merged with the pod's.
pub(crate) fn container(
    own: &k8s::Container,
    role: Role,
    restart: RestartPolicy,
    security: ContainerSecurity,
    at: &FieldPath,
    faults: &mut Faults,
) -> Container {
    let image = own.image.clone().unwrap_or_default();
    let own_restart = own.restart_policy.as_deref();
    let variables = own.env.as_deref().unwrap_or(&[]);
    let env = literals(variables);
    let ports = ports(own.ports.as_deref().unwrap_or(&[]), &at.field("ports"), faults);
    let mounts = own.volume_mounts.iter().flatten();
    let own_resources = own.resources.as_ref();
    Container {
        hash: container_hash(&own.name, &image),
        name: own.name.clone(),
        image,
        pull: pull_policy(own.image_pull_policy.as_deref()),
        command: own.command.clone().unwrap_or_default(),
        args: own.args.clone().unwrap_or_default(),
        env_from: volume::env_from(own.env_from.as_deref().unwrap_or(&[])),
        env: volume::env(variables, &at.field("env"), faults),
        working_dir: own.working_dir.clone().filter(|dir| !dir.is_empty()),
        resources: own_resources
            .map(|own| resources(own, &at.field("resources"), faults))
            .unwrap_or_default(),
        resize: resize(own),
        mounts: mounts
            .enumerate()
            .map(|(index, own)| mount(own, &at.field("volumeMounts").index(index), faults))
            .collect(),
        devices: own.volume_devices.iter().flatten().map(device).collect(),
        security,
        termination_path: own.termination_message_path.clone().unwrap_or_default(),
        termination_from_logs: own.termination_message_policy.as_deref() == Some("FallbackToLogsOnError"),
        stdin: own.stdin.unwrap_or(false),
        stdin_once: own.stdin_once.unwrap_or(false),
        tty: own.tty.unwrap_or(false),
        restart: match role {
            Role::Ephemeral => RestartPolicy::Never,
            Role::Regular | Role::Init => own_restart.map_or(restart, restart_policy),
        },
        restart_rules: own
            .restart_policy_rules
            .iter()
            .flatten()
            .filter_map(restart_rule)
            .collect(),
        sidecar: role == Role::Init && own_restart == Some("Always"),
        target: None,
        probes: probes(own, &ports, &env, at, faults),
        lifecycle: lifecycle(own, &ports),
        ports,
    }
}

fn device(own: &k8s::VolumeDevice) -> VolumeDevice {
    VolumeDevice {
        volume: own.name.clone(),
        path: own.device_path.clone(),
    }
}

pub(super) fn pull_policy(written: Option<&str>) -> PullPolicy {
    match written {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        _ => PullPolicy::IfNotPresent,
    }
}

/// The variables by their names; those that come from elsewhere are empty.
fn literals(variables: &[k8s::EnvVar]) -> HashMap<&str, &str> {
    let mut all = HashMap::new();
    for variable in variables {
        all.insert(
            variable.name.as_str(),
            variable.value.as_deref().unwrap_or_default(),
        );
    }
    all
}

pub(crate) fn restart_policy(policy: &str) -> RestartPolicy {
    match policy {
        "OnFailure" => RestartPolicy::OnFailure,
        "Never" => RestartPolicy::Never,
        _ => RestartPolicy::Always,
    }
}

/// The rule, if it matches exit codes: other kinds of rules, which a later version may add, never apply.
fn restart_rule(own: &k8s::ContainerRestartRule) -> Option<RestartRule> {
    let codes = own.exit_codes.as_ref()?;
    let values = codes.values.clone().unwrap_or_default();
    let codes = match codes.operator.as_str() {
        "In" => ExitCodes::In(values),
        "NotIn" => ExitCodes::NotIn(values),
        _ => return None,
    };
    let action = match own.action.as_str() {
        "Restart" => RestartAction::Restart,
        "RestartAllContainers" => RestartAction::RestartAllContainers,
        _ => RestartAction::ByPolicy,
    };
    Some(RestartRule { codes, action })
}

fn resize(own: &k8s::Container) -> ResizePolicy {
    let restarts = |name: &str| {
        let policies = own.resize_policy.iter().flatten();
        let of_resource = policies.filter(|policy| policy.resource_name == name);
        of_resource.map(|policy| policy.restart_policy.as_str()).next() == Some("RestartContainer")
    };
    let policy = |name: &str| match restarts(name) {
        true => OnResize::RestartContainer,
        false => OnResize::NotRequired,
    };
    ResizePolicy {
        cpu: policy("cpu"),
        memory: policy("memory"),
    }
}

/// References in a command expand to variables with plain values in the manifest (`ExpandContainerCommandOnlyStatic` of
/// `pkg/kubelet/container/helpers.go`). A pod whose command is too long for Linux is rejected, because the probe would
/// fail every time.
fn probes(
    own: &k8s::Container,
    ports: &[Port],
    env: &HashMap<&str, &str>,
    at: &FieldPath,
    faults: &mut Faults,
) -> Probes {
    let mut probe = |field: &'static str, probe: &Option<k8s::Probe>| {
        let left = Cell::new(bounds::EXEC_TOTAL);
        let exceeded = Cell::new(false);
        let word = |word: &str| {
            let most = (bounds::EXEC_STRING - 1).min(left.get());
            let expanded = expand(word, |name| env.get(name).copied(), most);
            let expanded = expanded.unwrap_or_else(|_| {
                exceeded.set(true);
                String::new()
            });
            left.set(left.get().saturating_sub(bounds::exec_bytes(expanded.len())));
            expanded
        };
        let probe = Probe::new(probe.as_ref()?, ports, word);
        if exceeded.get() {
            let at = at.field(field).field("exec").field("command");
            faults.add(
                &at,
                bounds::exec_string_exceeded("an argument, with its variables expanded,"),
            );
        }
        probe
    };
    Probes {
        startup: probe("startupProbe", &own.startup_probe),
        liveness: probe("livenessProbe", &own.liveness_probe),
        readiness: probe("readinessProbe", &own.readiness_probe),
    }
}

fn lifecycle(own: &k8s::Container, ports: &[Port]) -> Lifecycle {
    let Some(own) = &own.lifecycle else {
        return Lifecycle::default();
    };
    Lifecycle {
        post_start: own.post_start.as_ref().and_then(|hook| Hook::new(hook, ports)),
        pre_stop: own.pre_stop.clone(),
        stop_signal: own.stop_signal.as_deref().and_then(StopSignal::named),
    }
}

fn ports(ports: &[k8s::ContainerPort], at: &FieldPath, faults: &mut Faults) -> Vec<Port> {
    let mut converted = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let at = at.index(index);
        let host_ip = port.host_ip.as_deref().filter(|ip| !ip.is_empty());
        let host_port = port.host_port.filter(|port| *port != 0);
        let (Ok(container), Ok(host), Ok(host_ip)) = (
            u16::try_from(port.container_port),
            host_port.map(u16::try_from).transpose(),
            host_ip.map(str::parse).transpose(),
        ) else {
            faults.add(&at, "has a port number or an IP address that is not valid");
            continue;
        };
        converted.push(Port {
            name: port.name.clone().unwrap_or_default(),
            container,
            host,
            host_ip,
            protocol: match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            },
        });
    }
    converted
}

fn mount(own: &k8s::VolumeMount, at: &FieldPath, faults: &mut Faults) -> Mount {
    let absolute = own.mount_path.starts_with('/');
    Mount {
        volume: own.name.clone(),
        sub_path: volume::sub_path(own),
        // The kubelet makes a relative path absolute (`makeMounts`).
        path: if absolute {
            own.mount_path.clone()
        } else {
            format!("/{}", own.mount_path)
        },
        read_only: own.read_only.unwrap_or(false),
        recursive_read_only: match own.recursive_read_only.as_deref() {
            Some("Enabled") => RecursiveReadOnly::Enabled,
            Some("IfPossible") => RecursiveReadOnly::IfPossible,
            None | Some("Disabled") => RecursiveReadOnly::Disabled,
            Some(other) => {
                security::unknown(&at.field("recursiveReadOnly"), other, faults);
                RecursiveReadOnly::Disabled
            }
        },
        propagation: match own.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::HostToContainer,
            Some("Bidirectional") => Propagation::Bidirectional,
            None | Some("None") => Propagation::None,
            Some(other) => {
                security::unknown(&at.field("mountPropagation"), other, faults);
                Propagation::None
            }
        },
    }
}
