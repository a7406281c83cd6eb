//! A pod from the API server. It already has its defaults and was validated there, so this module reports only what
//! this version does not support and what only the node can decide.

use std::path::PathBuf;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::context::{ManifestContext, RestartAll};
use super::defaults;
use super::path::{Fault, Faults, FieldPath};
use super::validate::{border, unsupported};
use super::{convert, validate};
use crate::model::bounds;
use crate::model::labels;
use crate::model::pod::{Pod, PodName, Problem, Source};
use crate::model::reference::references;
use crate::model::restart::RestartAction;

/// Checks that a pod's namespace, name and UID are valid; without them it cannot be run, stopped or reported.
pub fn check_identity(metadata: &ObjectMeta) -> Result<(), Problem> {
    let mut faults = Faults::default();
    border::identity(metadata, &mut faults);
    match faults.into_vec().into_iter().next() {
        None => Ok(()),
        Some(fault) => Err(Problem {
            path: PathBuf::from("API server: a pod"),
            pod: None,
            ..problem(fault, &PodName::new("", ""))
        }),
    }
}

/// Reads it; its identity has been checked. A pod that is being deleted is read whatever it asks for: ending it needs
/// none of that.
pub fn read(mut object: k8s::Pod, context: &ManifestContext, seen: Timestamp) -> Result<Pod, Vec<Problem>> {
    let name = PodName::of(&object.metadata);
    let goes = object.metadata.deletion_timestamp.is_some();
    let mut faults = Faults::default();
    if let Some(spec) = &object.spec {
        border::size(spec, &mut faults);
    }
    match (faults.is_empty(), goes) {
        (true, _) => {}
        (false, true) => border::cut(&mut object),
        (false, false) => return Err(refused(faults, &name)),
    }
    border::spec(&object, &mut faults);
    unsupported::api_pod(&object, &mut faults);
    let forbidden = object
        .spec
        .as_ref()
        .and_then(|spec| validate::sysctl::forbidden_sysctl(spec, context));
    object.metadata.managed_fields = None;
    labels::write_origin(
        object.metadata.annotations.get_or_insert_default(),
        Source::Api.annotation(),
        seen,
    );
    defaults::apply(&mut object);
    let mut pod = Pod {
        forbidden_sysctl: forbidden,
        ..convert::pod(object, Source::Api, seen, &mut faults)
    };
    if context.restart_all == RestartAll::Disabled {
        leave_to_policies(&mut pod);
    }
    if references(&pod).len() > bounds::POD_REFERENCES {
        faults.add(&FieldPath::default().field("spec"), bounds::references_exceeded());
    }
    match faults.is_empty() || goes {
        true => Ok(pod),
        false => Err(refused(faults, &name)),
    }
}

/// Without its feature gate, the action that restarts all containers is none (`ContainerShouldRestart` in
/// `pkg/api/v1/pod/util.go`): an API server with the gate has pods with it on nodes without it.
fn leave_to_policies(pod: &mut Pod) {
    let containers = pod.init_containers.iter_mut().chain(&mut pod.containers);
    for rule in containers.flat_map(|container| &mut container.restart_rules) {
        if rule.action == RestartAction::RestartAllContainers {
            rule.action = RestartAction::ByPolicy;
        }
    }
}

fn refused(faults: Faults, name: &PodName) -> Vec<Problem> {
    let faults = faults.into_vec().into_iter();
    // The API server has already accepted what is only dubious.
    let faults = faults.filter(|fault| !fault.kind.is_warning());
    faults.map(|fault| problem(fault, name)).collect()
}

fn problem(fault: Fault, name: &PodName) -> Problem {
    Problem {
        path: PathBuf::from(format!("API server: pod {name}")),
        document: 0,
        line: None,
        field: fault.path.to_string(),
        message: bounds::shortened(fault.message, bounds::MESSAGE),
        pod: Some(name.clone()),
        kind: fault.kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::{Container, RestartPolicy};

    fn read_json(extra: serde_json::Value) -> Result<Pod, Vec<String>> {
        let mut object = serde_json::json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i:1"}]},
        });
        for (key, value) in extra.as_object().unwrap() {
            for (inner, value) in value.as_object().unwrap() {
                object[key][inner] = value.clone();
            }
        }
        let object = serde_json::from_value(object).unwrap();
        let described = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
        read(object, &ManifestContext::default(), Timestamp::UNIX_EPOCH).map_err(described)
    }

    #[test]
    fn what_the_scheduler_has_seen_to_is_no_problem() {
        let pod = read_json(serde_json::json!({"spec": {
            "nodeSelector": {"a": "b"}, "serviceAccountName": "default", "serviceAccount": "default",
            "runtimeClassName": "sandboxed",
        }}))
        .unwrap();
        assert_eq!((pod.source, pod.uid.0.as_str()), (Source::Api, "u"));
    }

    #[test]
    fn without_its_feature_gate_the_restart_of_all_containers_is_left_to_the_policy() {
        let object = serde_json::json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"containers": [{"name": "c", "image": "i:1", "restartPolicy": "Never", "restartPolicyRules": [
                {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [1]}},
            ]}]},
        });
        let object: k8s::Pod = serde_json::from_value(object).unwrap();
        let restarts = |restart_all| {
            let context = ManifestContext {
                restart_all,
                ..ManifestContext::default()
            };
            let pod = read(object.clone(), &context, Timestamp::UNIX_EPOCH).unwrap();
            (pod.may_restart_all(), pod.containers[0].restarts_after(1))
        };
        assert_eq!(restarts(RestartAll::Enabled), (true, true));
        assert_eq!(restarts(RestartAll::Disabled), (false, false));
    }

    #[test]
    fn what_was_added_to_a_pod_is_started_once_and_knows_its_target() {
        let pod = read_json(
            serde_json::json!({"spec": {"restartPolicy": "Always", "ephemeralContainers": [
                {"name": "dbg", "image": "i:1", "command": ["sh"], "stdin": true, "targetContainerName": "c"},
                {"name": "other", "image": "i:1"},
            ]}}),
        )
        .unwrap();
        let described = |container: &Container| {
            let Container {
                name,
                restart,
                target,
                stdin,
                ..
            } = container.clone();
            (name, restart, target, stdin)
        };
        let added: Vec<_> = pod.ephemeral_containers.iter().map(described).collect();
        let target = Some("c".to_owned());
        assert_eq!(
            added,
            [
                ("dbg".to_owned(), RestartPolicy::Never, target, true),
                ("other".to_owned(), RestartPolicy::Never, None, false)
            ]
        );
        assert_eq!(pod.own_containers().count(), 1);
    }

    /// The annotations go to the runtime and the pod itself, as with the kubelet, but not to the API server.
    #[test]
    fn where_it_came_from_is_noted() {
        let pod = read_json(serde_json::json!({"metadata": {"annotations": {"a": "1"}}})).unwrap();
        let described: Vec<_> = pod
            .annotations
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        assert_eq!(
            described,
            [
                "a=1",
                "kubernetes.io/config.seen=1970-01-01T00:00:00.000000000Z",
                "kubernetes.io/config.source=api"
            ]
        );
    }

    #[test]
    fn what_is_not_there_yet_is_named_and_keeps_nothing_from_ending() {
        let spec = serde_json::json!({"resourceClaims": [{"name": "gpu"}]});
        let problems = read_json(serde_json::json!({"spec": spec})).unwrap_err();
        assert_eq!(
            problems,
            ["API server: pod ns/p: spec.resourceClaims: is not supported by this version of gantry yet"]
        );
        let deleted = serde_json::json!({
            "metadata": {"deletionTimestamp": "2026-11-20T08:00:05Z", "deletionGracePeriodSeconds": 5},
            "spec": spec,
        });
        let deletion = read_json(deleted).unwrap().deletion.unwrap();
        assert_eq!(
            (deletion.grace.as_secs(), deletion.asked.to_string()),
            (5, "2026-11-20T08:00:00Z".to_owned())
        );
    }

    #[test]
    fn a_kernel_parameter_that_the_node_does_not_allow_is_told() {
        let forbidden = |spec: serde_json::Value| {
            read_json(serde_json::json!({"spec": spec}))
                .unwrap()
                .forbidden_sysctl
        };
        let sysctl = |name: &str| serde_json::json!({"sysctls": [{"name": name, "value": "1"}]});
        assert_eq!(
            forbidden(serde_json::json!({"securityContext": sysctl("kernel.msgmax")})).as_deref(),
            Some("forbidden sysctl: \"kernel.msgmax\" not allowlisted")
        );
        let safe = sysctl("net.ipv4.tcp_syncookies");
        assert_eq!(forbidden(serde_json::json!({"securityContext": safe})), None);
        assert_eq!(
            forbidden(serde_json::json!({"securityContext": safe, "hostNetwork": true})).as_deref(),
            Some("forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host Net enabled")
        );
    }
}
