//! Turns a manifest into a pod of this node: its name and UID, and the kubelet's additions (`applyDefaults` of
//! `pkg/kubelet/config/common.go`).

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as k8s;

use super::context::ManifestContext;
use super::decode;
use super::path::{Fault, Faults, FieldPath};
use super::read::ReadPod;
use super::uid::fingerprint;
use super::validate::unsupported;
use super::yaml::tree::Node;
use super::{convert, validate};
use super::{defaults, names, quantities};
use crate::model::api::MIRROR;
use crate::model::bounds;
use crate::model::labels;
use crate::model::pod::{OF_FILE, Pod, PodName, ProblemKind, Source};

/// Reads the pod of a document if it is valid, and reports every problem and warning.
pub(crate) fn read(
    node: &Rc<Node>,
    path: &Path,
    document: usize,
    context: &ManifestContext,
    now: Timestamp,
) -> (Option<ReadPod>, Vec<Fault>) {
    let decoded = decode::decode::<k8s::Pod>(node, &FieldPath::default());
    let mut faults = Faults::default();
    faults.extend(decoded.faults);
    let Some(mut object) = decoded.value else {
        return (None, faults.into_vec());
    };
    if let Some(fault) = too_many(&object) {
        faults.push(fault);
        return (None, faults.into_vec());
    }
    let mut more = Faults::default();
    unsupported::static_pod(&object, context, &mut more);
    own_metadata(&object, &mut more);
    validate::metadata::written(&object.metadata, &mut more);
    as_written(&mut object);
    positive_grace(&mut object, &mut more);
    let json = serde_json::to_string(&object).expect("Kubernetes objects serialize to JSON");
    complete(&mut object, path, context, now);
    defaults::apply(&mut object);
    validate::pod(&object, context, &mut more);
    if let Some(spec) = &mut object.spec {
        quantities::write_canonically(spec);
    }
    let mut pod = None;
    if faults.is_empty() && more.is_empty() {
        let source = Source::File {
            path: path.to_owned(),
            document,
        };
        let spec = object.spec.as_ref();
        let forbidden_sysctl = spec.and_then(|spec| validate::sysctl::forbidden_sysctl(spec, context));
        pod = Some(Pod {
            forbidden_sysctl,
            ..convert::pod(object, source, now, &mut more)
        });
    }
    faults.extend(relevant(more, &decoded.aside, node));
    let read = pod.filter(|_| faults.is_empty()).map(|pod| ReadPod { pod, json });
    (read, faults.into_vec())
}

/// Lists that are longer than any node could run are not examined further.
fn too_many(object: &k8s::Pod) -> Option<Fault> {
    let spec = object.spec.as_ref()?;
    let init = spec.init_containers.as_ref().map_or(0, Vec::len);
    let volumes = spec.volumes.as_ref().map_or(0, Vec::len);
    let gates = spec.readiness_gates.as_ref().map_or(0, Vec::len);
    let at = FieldPath::default().field("spec");
    let counts = [
        ("containers", spec.containers.len()),
        ("initContainers", init),
        ("volumes", volumes),
        ("readinessGates", gates),
    ];
    let (field, _) = counts.into_iter().find(|(_, count)| *count > bounds::OF_EACH)?;
    Some(Fault {
        path: at.field(field),
        line: None,
        message: bounds::of_each_exceeded(),
        kind: ProblemKind::Bound,
    })
}

/// Removes the faults that only follow from values that were set aside, that repeat one about the name, or that concern
/// a value that the manifest does not have: a request that defaulted to a wrong limit.
fn relevant(faults: Faults, aside: &[FieldPath], node: &Node) -> Vec<Fault> {
    let name = FieldPath::default().field("metadata").field("name").to_string();
    let mut named = false;
    let mut faults = faults.into_vec();
    faults.retain(|fault| {
        let follows = aside.iter().any(|path| {
            // A list that lacks an item cannot be judged: the indexes of the others have changed.
            let scope = if path.is_item() {
                path.parent()
            } else {
                path.clone()
            };
            fault.path.overlaps(&scope)
        });
        let repeats = fault.path.to_string() == name && std::mem::replace(&mut named, true);
        let by_default = fault.path.is_entry() && !node.has(&fault.path);
        !follows && !repeats && !by_default
    });
    faults
}

/// The name of a manifest's pod on this node.
pub(crate) fn name(namespace: Option<&str>, name: &str, context: &ManifestContext) -> PodName {
    PodName::new(
        namespace.filter(|n| !n.is_empty()).unwrap_or("default"),
        format!("{name}-{}", context.node_name.to_lowercase()),
    )
}

/// Notes the metadata that a manifest cannot set.
fn own_metadata(object: &k8s::Pod, faults: &mut Faults) {
    let metadata = &object.metadata;
    let at = FieldPath::default().field("metadata");
    match metadata.name.as_deref().unwrap_or("") {
        "" => faults.add(&at.field("name"), "is missing: every pod has a name"),
        // Its end is followed by that of the node's name: `a-` is taken, as by the kubelet.
        name => {
            let complaint = names::dns_subdomain(&format!("{name}-n"));
            faults.complain(&at.field("name"), name, complaint);
        }
    }
    for (present, field) in [
        (metadata.deletion_timestamp.is_some(), "deletionTimestamp"),
        (
            metadata.deletion_grace_period_seconds.is_some(),
            "deletionGracePeriodSeconds",
        ),
    ] {
        if present {
            faults.unsupported(
                &at.field(field),
                "is set by the API server: remove it; to delete the pod, remove the file",
            );
        }
    }
    let mirror = metadata
        .annotations
        .as_ref()
        .is_some_and(|a| a.contains_key(MIRROR));
    if mirror {
        let at = at.field("annotations").key(MIRROR);
        faults.add(&at, "marks a mirror pod: remove it");
    }
}

/// Removes the fields that only the API server writes, which are in an object that was copied from there.
fn as_written(object: &mut k8s::Pod) {
    object.status = None;
    let metadata = &mut object.metadata;
    metadata.creation_timestamp = None;
    metadata.generation = None;
    metadata.managed_fields = None;
    metadata.resource_version = None;
    metadata.self_link = None;
}

/// A negative grace period becomes 1, as in the kubelet's conversion (`Convert_v1_Pod_To_core_Pod`).
fn positive_grace(object: &mut k8s::Pod, faults: &mut Faults) {
    let spec = object.spec.as_mut();
    if let Some(grace) = spec.and_then(|spec| spec.termination_grace_period_seconds.as_mut())
        && *grace < 0
    {
        let at = FieldPath::default()
            .field("spec")
            .field("terminationGracePeriodSeconds");
        faults.warn(
            &at,
            format!("{grace} seconds is not a valid grace period: 1 is used instead"),
        );
        *grace = 1;
    }
}

fn complete(object: &mut k8s::Pod, path: &Path, context: &ManifestContext, now: Timestamp) {
    let file = path.to_string_lossy();
    let given = object.metadata.uid.clone().filter(|uid| !uid.is_empty());
    let uid = given.unwrap_or_else(|| fingerprint::static_pod_uid(object, &context.node_name, &file));
    let metadata = &mut object.metadata;
    let full = name(
        metadata.namespace.as_deref(),
        metadata.name.as_deref().unwrap_or(""),
        context,
    );
    metadata.name = Some(full.name.clone());
    metadata.namespace = Some(full.namespace.clone());
    let annotations = metadata.annotations.get_or_insert_with(BTreeMap::new);
    labels::write_static_uid(annotations, &uid);
    labels::write_origin(annotations, OF_FILE, now);
    metadata.uid = Some(uid);
    if let Some(spec) = &mut object.spec {
        spec.node_name = Some(context.node_name.clone());
        tolerate_everything(spec.tolerations.get_or_insert_default());
    }
}

/// A static pod is not evicted when the node has problems (`AddOrUpdateTolerationInPod`).
fn tolerate_everything(tolerations: &mut Vec<k8s::Toleration>) {
    let everything = k8s::Toleration {
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        ..k8s::Toleration::default()
    };
    let empty = |text: &Option<String>| text.as_deref().unwrap_or("").is_empty();
    let matching = tolerations.iter_mut().find(|t| {
        empty(&t.key) && empty(&t.value) && t.operator == everything.operator && t.effect == everything.effect
    });
    match matching {
        Some(toleration) => *toleration = everything,
        None => tolerations.push(everything),
    }
}

/// The same pod with another first-seen time: content that is read again is not new.
pub(crate) fn seen_at(pod: &Pod, seen: Timestamp) -> Pod {
    let mut pod = pod.clone();
    pod.seen = seen;
    labels::write_seen(&mut pod.annotations, seen);
    let annotations = Arc::make_mut(&mut pod.object)
        .metadata
        .annotations
        .get_or_insert_default();
    labels::write_seen(annotations, seen);
    pod
}
