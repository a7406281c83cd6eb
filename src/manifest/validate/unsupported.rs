//! What Kubernetes knows and this node does not do: refused by name, never ignored.

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod, PodSpec, Volume};
use serde_json::Value;

use crate::manifest::context::RuntimeClasses;
use crate::manifest::convert::ephemeral;
use crate::manifest::path::{Faults, FieldPath};

/// Comes behind what is not done yet.
const NOT_YET: &str = "is not supported by this version of gantry yet";
/// Comes behind what refers to an object of the API, as `static pods may not reference …` does in the kubelet.
const NO_REFERENCE: &str = "refers to an object of the API server, which a static pod cannot";

/// What is said of a pod of the API server, where there is nobody who could write it differently.
const OF_API: &str = "is not supported by this version of gantry yet";

/// What a pod of the API server may ask for though a manifest may not: it is compared with the node when it is
/// admitted, its scheduler has seen to it already, or the API server has what it names.
const DONE_BY_API: &[&str] = &[
    "spec.nodeSelector",
    "spec.affinity",
    "spec.schedulingGates",
    "spec.schedulingGroup",
    "spec.serviceAccountName",
    "spec.serviceAccount",
    "spec.runtimeClassName",
    "spec.ephemeralContainers",
];

/// The same of a pod of the API server.
pub(crate) fn api_pod(pod: &Pod, faults: &mut Faults) {
    let mut found = Faults::default();
    self::pod(pod, &mut found);
    for fault in found.into_vec() {
        let path = fault.path.to_string();
        let is_had = [".serviceAccountToken", ".clusterTrustBundle"]
            .iter()
            .any(|end| path.ends_with(end));
        if !DONE_BY_API.contains(&path.as_str()) && !is_had {
            faults.unsupported(&fault.path, OF_API);
        }
    }
}

/// The same of a static pod. A RuntimeClass is the one object of the API server that it may name, where there is one: it
/// has no values of others in it.
pub(crate) fn static_pod(pod: &Pod, classes: RuntimeClasses, faults: &mut Faults) {
    let mut found = Faults::default();
    self::pod(pod, &mut found);
    for fault in found.into_vec() {
        let is_class = fault.path.to_string() == "spec.runtimeClassName";
        if !(is_class && classes == RuntimeClasses::Asked) {
            faults.push(fault);
        }
    }
}

/// Notes everything that is asked for and not done. `pod` is as written, without defaults.
fn pod(pod: &Pod, faults: &mut Faults) {
    let Some(spec) = &pod.spec else {
        return;
    };
    let at = FieldPath::default().field("spec");
    spec_fields(spec, &at, faults);
    added(spec, &at, faults);
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        self::volume(volume, &at.field("volumes").index(index), faults);
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let at = at.field("containers").index(index);
        self::container(container, &at, faults);
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let at = at.field("initContainers").index(index);
        self::container(container, &at, faults);
    }
}

/// What containers that were added to a pod of the API server ask for and is not done.
fn added(spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    let containers = spec.ephemeral_containers.iter().flatten();
    for (index, container) in containers.map(ephemeral::common).enumerate() {
        let at = at.field("ephemeralContainers").index(index);
        self::container(&container, &at, faults);
    }
}

fn spec_fields(spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    let named = |name: &Option<String>| name.as_deref().is_some_and(|name| !name.is_empty());
    let account = named(&spec.service_account_name) || named(&spec.service_account);
    if account {
        let field = if named(&spec.service_account_name) {
            "serviceAccountName"
        } else {
            "serviceAccount"
        };
        faults.unsupported(&at.field(field), format!("{NO_REFERENCE}: remove it"));
    }
    if named(&spec.runtime_class_name) {
        faults.unsupported(
            &at.field("runtimeClassName"),
            format!("{NO_REFERENCE}: remove it"),
        );
    }
    if filled(spec.ephemeral_containers.as_ref()) {
        let message =
            "cannot be in a manifest, they are added to a pod of the API server that runs: remove them";
        faults.unsupported(&at.field("ephemeralContainers"), message);
    }
    later_fields(spec, at, faults);
    if spec.resources.as_ref().is_some_and(|r| r.claims.is_some()) {
        let at = at.field("resources").field("claims");
        faults.add(&at, "are not for a pod as a whole: give them to its containers");
    }
}

/// Fields that this version does not support yet.
fn later_fields(spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    let node_affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let node_affinity =
        node_affinity.is_some_and(|a| a.required_during_scheduling_ignored_during_execution.is_some());
    for (present, field, remedy) in [
        (
            filled(spec.resource_claims.as_ref()),
            "resourceClaims",
            "remove them",
        ),
        (
            filled(spec.scheduling_gates.as_ref()),
            "schedulingGates",
            "remove them: nobody would open them",
        ),
        (spec.scheduling_group.is_some(), "schedulingGroup", "remove it"),
        (
            spec.host_users == Some(false),
            "hostUsers",
            "remove it, or set it to true",
        ),
        (
            spec.node_selector
                .as_ref()
                .is_some_and(|selector| !selector.is_empty()),
            "nodeSelector",
            "remove it: the manifest lies on the node that it is for",
        ),
        (
            node_affinity,
            "affinity",
            "remove the required node affinity: the manifest lies on the node that it is for",
        ),
    ] {
        if present {
            faults.unsupported(&at.field(field), format!("{NOT_YET}: {remedy}"));
        }
    }
}

fn filled<T>(list: Option<&Vec<T>>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

fn container(container: &Container, at: &FieldPath, faults: &mut Faults) {
    let claims = container.resources.as_ref().and_then(|r| r.claims.as_ref());
    for (present, field, remedy) in [
        (
            filled(container.volume_devices.as_ref()),
            "volumeDevices",
            "remove them",
        ),
        (filled(claims), "resources", "remove the claims"),
    ] {
        if present {
            faults.unsupported(&at.field(field), format!("{NOT_YET}: {remedy}"));
        }
    }
    for (index, rule) in container.restart_policy_rules.iter().flatten().enumerate() {
        if rule.action == "RestartAllContainers" {
            let at = at.field("restartPolicyRules").index(index).field("action");
            faults.unsupported(&at, format!("{} {NOT_YET}: use Restart", rule.action));
        }
    }
    // CRI's message for it came after the version that we speak.
    let lifecycle = container.lifecycle.as_ref();
    if lifecycle.is_some_and(|lifecycle| lifecycle.stop_signal.is_some()) {
        let message = format!("{NOT_YET}: remove it, and have the image name the signal");
        faults.unsupported(&at.field("lifecycle").field("stopSignal"), message);
    }
    for (index, variable) in container.env.iter().flatten().enumerate() {
        if let Some(from) = &variable.value_from {
            let at = at.field("env").index(index).field("valueFrom");
            value_from(from, &at, faults);
        }
    }
}

fn value_from(from: &EnvVarSource, at: &FieldPath, faults: &mut Faults) {
    if from.file_key_ref.is_some() {
        let message = format!("{NOT_YET}: write the value itself as value");
        faults.unsupported(&at.field("fileKeyRef"), message);
    }
}

/// The kinds of volumes that are made.
const SUPPORTED: &[&str] = &[
    "name",
    "emptyDir",
    "hostPath",
    "configMap",
    "secret",
    "downwardAPI",
    "projected",
];

/// The kinds of volumes whose objects only the API server has.
const REFERENCES: &[&str] = &[
    "persistentVolumeClaim",
    "ephemeral",
    "csi",
    "azureFile",
    "glusterfs",
];

fn volume(volume: &Volume, at: &FieldPath, faults: &mut Faults) {
    // By its JSON, so that a kind that a later version of Kubernetes adds is refused too.
    let Ok(Value::Object(fields)) = serde_json::to_value(volume) else {
        return;
    };
    for kind in fields.keys() {
        if SUPPORTED.contains(&kind.as_str()) {
            continue;
        }
        let complaint = if REFERENCES.contains(&kind.as_str()) {
            NO_REFERENCE
        } else {
            NOT_YET
        };
        faults.unsupported(
            &at.field(kind.clone()),
            format!("{complaint}: use emptyDir or hostPath"),
        );
    }
    let sources = volume
        .projected
        .iter()
        .flat_map(|own| own.sources.iter().flatten());
    for (index, source) in sources.enumerate() {
        let at = at.field("projected").field("sources").index(index);
        for (present, field) in [
            (source.service_account_token.is_some(), "serviceAccountToken"),
            (source.cluster_trust_bundle.is_some(), "clusterTrustBundle"),
            (source.pod_certificate.is_some(), "podCertificate"),
        ] {
            if present {
                faults.unsupported(&at.field(field), format!("{NO_REFERENCE}: remove it"));
            }
        }
    }
}
