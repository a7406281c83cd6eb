//! What Kubernetes allows and this node does not support: rejected by name, never ignored.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};
use serde_json::Value;

use crate::manifest::context::{ManifestContext, RestartAll, RuntimeClasses};
use crate::manifest::convert::ephemeral;
use crate::manifest::path::{Faults, FieldPath};

/// The message about a field that is not supported yet.
const NOT_YET: &str = "is not supported by this version of gantry yet";
/// The message about a reference to an API object, like the kubelet's `static pods may not reference …`.
const NO_REFERENCE: &str = "refers to an API object, which a static pod cannot do";

/// The message about a stop signal without the feature gate.
const NO_SIGNALS: &str = "needs the feature gate ContainerStopSignals: set it to true in featureGates, or remove the \
                          signal and set it in the image";

/// The messages about what needs the feature gate for the restart of all containers: without it the API server takes
/// neither the action, nor rules of sidecars (`validateInitContainerRestartPolicy` in `pkg/apis/core/validation`).
const NO_RESTART_ALL: &str = "needs the feature gate RestartAllContainersOnContainerExits: remove it from featureGates, \
                              or use Restart";
const NO_SIDECAR_RULES: &str = "of a sidecar need the feature gate RestartAllContainersOnContainerExits: remove it from \
                                featureGates, or remove the rules";

/// The message for an API pod; it has no remedy because the pod is not edited here.
const OF_API: &str = "is not supported by this version of gantry yet";

/// Fields that are allowed in an API pod though not in a manifest: admission compares them with the node, the scheduler
/// has already handled them, or the API server has the object that they name.
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

/// Notes what an API pod requests and this node does not support.
pub(crate) fn api_pod(pod: &Pod, faults: &mut Faults) {
    let mut found = Faults::default();
    self::pod(pod, &mut found);
    for fault in found.into_vec() {
        let path = fault.path.to_string();
        let is_had = [
            ".serviceAccountToken",
            ".clusterTrustBundle",
            ".podCertificate",
            ".persistentVolumeClaim",
            ".ephemeral",
        ]
        .iter()
        .any(|end| path.ends_with(end));
        if !DONE_BY_API.contains(&path.as_str()) && !is_had {
            faults.unsupported(&fault.path, OF_API);
        }
    }
}

/// Notes what a static pod requests and this node does not support. A RuntimeClass is the only API object that it may
/// refer to, if there is an API server: a RuntimeClass contains no values of other users.
pub(crate) fn static_pod(pod: &Pod, context: &ManifestContext, faults: &mut Faults) {
    let mut found = Faults::default();
    self::pod(pod, &mut found);
    for fault in found.into_vec() {
        let is_class = fault.path.to_string() == "spec.runtimeClassName";
        if !(is_class && context.classes == RuntimeClasses::Asked) {
            faults.push(fault);
        }
    }
    if !context.stop_signals {
        stop_signals(pod, faults);
    }
    if context.restart_all == RestartAll::Disabled {
        restart_all(pod, faults);
    }
}

/// The containers of a pod's definition, each with its place.
fn own_containers(spec: &PodSpec) -> impl Iterator<Item = (FieldPath, &Container)> {
    let at = FieldPath::default().field("spec");
    let (init_at, main_at) = (at.field("initContainers"), at.field("containers"));
    let init = spec.init_containers.iter().flatten().enumerate();
    let init = init.map(move |(index, container)| (init_at.index(index), container));
    let main = spec.containers.iter().enumerate();
    init.chain(main.map(move |(index, container)| (main_at.index(index), container)))
}

/// Notes the rules that need the feature gate for the restart of all containers.
fn restart_all(pod: &Pod, faults: &mut Faults) {
    let Some(spec) = &pod.spec else {
        return;
    };
    let init = spec.init_containers.as_ref().map_or(0, Vec::len);
    for (place, (at, container)) in own_containers(spec).enumerate() {
        let at = at.field("restartPolicyRules");
        let is_sidecar = place < init && container.restart_policy.as_deref() == Some("Always");
        let rules = container.restart_policy_rules.as_deref().unwrap_or(&[]);
        if is_sidecar && !rules.is_empty() {
            faults.unsupported(&at, NO_SIDECAR_RULES);
            continue;
        }
        for (index, _) in rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| rule.action == "RestartAllContainers")
        {
            faults.unsupported(&at.index(index).field("action"), NO_RESTART_ALL);
        }
    }
}

/// Notes the stop signals, which the kubelet ignores without their feature gate. In an API pod they are ignored here,
/// too: an API server with the gate has pods with them on nodes without it.
fn stop_signals(pod: &Pod, faults: &mut Faults) {
    for (at, container) in pod.spec.iter().flat_map(own_containers) {
        let lifecycle = container.lifecycle.as_ref();
        if lifecycle.is_some_and(|lifecycle| lifecycle.stop_signal.is_some()) {
            faults.unsupported(&at.field("lifecycle").field("stopSignal"), NO_SIGNALS);
        }
    }
}

/// Notes everything that is requested and not supported. `pod` is as written, without defaults.
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

/// Notes what the ephemeral containers of a pod request and this node does not support.
pub(crate) fn added(spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
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
            "cannot be in a manifest; they are added to a running pod through the API server: remove them";
        faults.unsupported(&at.field("ephemeralContainers"), message);
    }
    later_fields(spec, at, faults);
    if spec.resources.as_ref().is_some_and(|r| r.claims.is_some()) {
        let at = at.field("resources").field("claims");
        faults.add(&at, "cannot be set for the whole pod: set them on its containers");
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
            "remove them: nothing on a node clears them",
        ),
        (spec.scheduling_group.is_some(), "schedulingGroup", "remove it"),
        (
            spec.node_selector
                .as_ref()
                .is_some_and(|selector| !selector.is_empty()),
            "nodeSelector",
            "remove it: the manifest is already on its node",
        ),
        (
            node_affinity,
            "affinity",
            "remove the required node affinity: the manifest is already on its node",
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
    if filled(claims) {
        faults.unsupported(&at.field("resources"), format!("{NOT_YET}: remove the claims"));
    }
}

/// The supported volume types.
const SUPPORTED: &[&str] = &[
    "name",
    "emptyDir",
    "hostPath",
    "configMap",
    "secret",
    "downwardAPI",
    "projected",
    "csi",
    "image",
    "nfs",
    "iscsi",
    "fc",
];

/// The volume types whose objects exist only in the API server.
const REFERENCES: &[&str] = &["persistentVolumeClaim", "ephemeral", "azureFile", "glusterfs"];

fn volume(volume: &Volume, at: &FieldPath, faults: &mut Faults) {
    // By its JSON, so that a type that a later version of Kubernetes adds is rejected, too.
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
