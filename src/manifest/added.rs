//! A static pod with ephemeral containers, which a manifest cannot have: they are added while the pod runs, as the API
//! server adds them to other pods (`kubectl debug`).

use std::collections::BTreeSet;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{EphemeralContainer, ResourceRequirements};

use super::context::ManifestContext;
use super::convert::{self, ephemeral};
use super::defaults;
use super::path::{Fault, Faults, FieldPath};
use super::validate::{self, border, unsupported};
use crate::model::bounds;
use crate::model::pod::{Pod, Problem};

/// The static pod with these ephemeral containers, or what is wrong with them. `pod` is the pod as its manifest says it.
pub fn add(
    pod: &Pod,
    mut containers: Vec<EphemeralContainer>,
    context: &ManifestContext,
) -> Result<Pod, Vec<Problem>> {
    containers.iter_mut().for_each(defaults::apply_ephemeral);
    let mut object = (*pod.object).clone();
    let spec = object.spec.get_or_insert_default();
    spec.ephemeral_containers = Some(containers);
    let mut faults = Faults::default();
    border::size(spec, &mut faults);
    if faults.is_empty() {
        check(&object, context, &mut faults);
    }
    let faults_of = |faults: Faults| {
        let faults = faults.into_vec().into_iter();
        let faults: Vec<_> = faults.filter(|fault| !fault.kind.is_warning()).collect();
        faults
            .into_iter()
            .map(|fault| problem(fault, pod))
            .collect::<Vec<_>>()
    };
    let found = faults_of(faults);
    if !found.is_empty() {
        return Err(found);
    }
    let mut faults = Faults::default();
    let converted = convert::pod(object, pod.source.clone(), pod.seen, &mut faults);
    let found = faults_of(faults);
    match found.is_empty() {
        true => Ok(Pod {
            incarnation: pod.incarnation,
            past_grace: pod.past_grace,
            deletion: pod.deletion.clone(),
            forbidden_sysctl: pod.forbidden_sysctl.clone(),
            ..converted
        }),
        false => Err(found),
    }
}

/// Whether resources are more than the empty ones that kubectl sends.
fn states_any(resources: Option<&ResourceRequirements>) -> bool {
    resources.is_some_and(|stated| *stated != ResourceRequirements::default())
}

/// The rules of the API server (`validateEphemeralContainers` in `pkg/apis/core/validation`), and what this version does
/// not support.
fn check(object: &k8s_openapi::api::core::v1::Pod, context: &ManifestContext, faults: &mut Faults) {
    border::spec(object, faults);
    let Some(spec) = &object.spec else { return };
    let all = FieldPath::default().field("spec").field("ephemeralContainers");
    unsupported::added(spec, &FieldPath::default().field("spec"), faults);
    let own = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let own: BTreeSet<&str> = own.map(|container| container.name.as_str()).collect();
    let mut names = own.clone();
    for (index, container) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let at = all.index(index);
        forbidden(container, &at, faults);
        validate::container(&ephemeral::common(container), spec, context, false, &at, faults);
        if !container.name.is_empty() && !names.insert(&container.name) {
            let message = format!(
                "another container is already named {:?}: names must differ, also from those that have ended",
                container.name
            );
            faults.add(&at.field("name"), message);
        }
        let target = container
            .target_container_name
            .as_deref()
            .filter(|name| !name.is_empty());
        if let Some(target) = target.filter(|target| !own.contains(target)) {
            let message = format!("no container of the pod is named {target:?}");
            faults.add(&at.field("targetContainerName"), message);
        }
    }
}

/// What belongs to the service that a pod provides, to which an ephemeral container does not.
fn forbidden(container: &EphemeralContainer, at: &FieldPath, faults: &mut Faults) {
    // Every field is named, so that a field that Kubernetes adds breaks the build here.
    let EphemeralContainer {
        args: _,
        command: _,
        env: _,
        env_from: _,
        image: _,
        image_pull_policy: _,
        lifecycle,
        liveness_probe,
        name: _,
        ports,
        readiness_probe,
        resize_policy,
        resources,
        restart_policy,
        restart_policy_rules,
        security_context: _,
        startup_probe,
        stdin: _,
        stdin_once: _,
        target_container_name: _,
        termination_message_path: _,
        termination_message_policy: _,
        tty: _,
        volume_devices: _,
        volume_mounts,
        working_dir: _,
    } = container;
    let filled = |count: Option<usize>| count.is_some_and(|count| count > 0);
    for (present, field) in [
        (lifecycle.is_some(), "lifecycle"),
        (liveness_probe.is_some(), "livenessProbe"),
        (filled(ports.as_ref().map(Vec::len)), "ports"),
        (readiness_probe.is_some(), "readinessProbe"),
        (filled(resize_policy.as_ref().map(Vec::len)), "resizePolicy"),
        (states_any(resources.as_ref()), "resources"),
        (restart_policy.is_some(), "restartPolicy"),
        (
            filled(restart_policy_rules.as_ref().map(Vec::len)),
            "restartPolicyRules",
        ),
        (startup_probe.is_some(), "startupProbe"),
    ] {
        if present {
            faults.add(&at.field(field), FORBIDDEN);
        }
    }
    for (index, mount) in volume_mounts.iter().flatten().enumerate() {
        let at = at.field("volumeMounts").index(index);
        let named = |path: &Option<String>| path.as_deref().is_some_and(|path| !path.is_empty());
        if named(&mount.sub_path) {
            faults.add(&at.field("subPath"), FORBIDDEN);
        }
        if named(&mount.sub_path_expr) {
            faults.add(&at.field("subPathExpr"), FORBIDDEN);
        }
    }
}

/// The message about a field that an ephemeral container cannot have.
const FORBIDDEN: &str = "cannot be set for an ephemeral container: remove it";

fn problem(fault: Fault, pod: &Pod) -> Problem {
    Problem {
        path: PathBuf::from(format!("pod {}", pod.name)),
        document: 0,
        line: None,
        field: fault.path.to_string(),
        message: bounds::shortened(fault.message, bounds::MESSAGE),
        pod: Some(pod.name.clone()),
        kind: fault.kind,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::pod::RestartPolicy;

    fn context() -> ManifestContext {
        ManifestContext {
            node_name: "vm".to_owned(),
            ..ManifestContext::default()
        }
    }

    fn manifest() -> Pod {
        let text = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {
            "volumes": [{"name": "data", "emptyDir": {}}],
            "containers": [{"name": "main", "image": "i:1"}]}}"#;
        let path = Path::new("/manifests/web.yaml");
        let context = context();
        let (pods, problems) = super::super::read(text.as_bytes(), path, &context, Timestamp::UNIX_EPOCH);
        assert_eq!(problems, []);
        pods.into_iter().next().unwrap()
    }

    fn added(containers: Value) -> Result<Pod, Vec<String>> {
        let containers = serde_json::from_value(containers).unwrap();
        add(&manifest(), containers, &context())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_pod_is_the_same_but_for_what_was_added() {
        let pod = added(json!([
            {"name": "dbg", "image": "tools", "stdin": true, "tty": true, "targetContainerName": "main",
             "volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        ]))
        .unwrap();
        let container = &pod.ephemeral_containers[0];
        assert_eq!(
            (container.name.as_str(), container.target.as_deref()),
            ("dbg", Some("main"))
        );
        assert_eq!(container.restart, RestartPolicy::Never);
        assert_eq!(container.mounts.len(), 1);
        let shown = pod
            .object
            .spec
            .as_ref()
            .unwrap()
            .ephemeral_containers
            .as_ref()
            .unwrap();
        assert_eq!(shown[0].image_pull_policy.as_deref(), Some("Always"));
        assert_eq!(shown[0].termination_message_policy.as_deref(), Some("File"));
        let without = add(&pod, Vec::new(), &context()).unwrap();
        let mut expected = manifest();
        std::sync::Arc::make_mut(&mut expected.object)
            .spec
            .as_mut()
            .unwrap()
            .ephemeral_containers = Some(Vec::new());
        assert_eq!(without, expected);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |containers: Value, expected: &[&str]| {
            assert_eq!(added(containers).unwrap_err(), expected);
        };
        check(
            json!([{"name": "main", "image": "i"}]),
            &[
                "pod default/web-vm: spec.ephemeralContainers[0].name: another container is already named \"main\": names \
               must differ, also from those that have ended",
            ],
        );
        check(
            json!([{"name": "a", "image": "i", "targetContainerName": "b"}]),
            &[
                "pod default/web-vm: spec.ephemeralContainers[0].targetContainerName: no container of the pod is named \
               \"b\"",
            ],
        );
        check(
            json!([{"name": "a", "image": "i", "ports": [{"containerPort": 1, "protocol": "TCP"}], "resources": {"limits": {"cpu": "1"}},
                    "volumeMounts": [{"name": "data", "mountPath": "/d", "subPath": "x"}]}]),
            &[
                "pod default/web-vm: spec.ephemeralContainers[0].ports: cannot be set for an ephemeral container: remove \
                 it",
                "pod default/web-vm: spec.ephemeralContainers[0].resources: cannot be set for an ephemeral container: \
                 remove it",
                "pod default/web-vm: spec.ephemeralContainers[0].volumeMounts[0].subPath: cannot be set for an ephemeral \
                 container: remove it",
            ],
        );
        assert!(
            added(json!([{"name": "a"}])).unwrap_err()[0]
                .contains("ephemeralContainers[0].image: is missing")
        );
        assert!(added(json!([{"name": "../a", "image": "i"}])).is_err());
    }
}
