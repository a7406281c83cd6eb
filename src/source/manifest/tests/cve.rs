//! What went wrong in other node agents and got a number, as far as it is decided when a pod is read.

use serde_json::{Value, json};

use super::planned::{api_pod, steps};
use super::problems;
use crate::model::pod::{Pod, PullPolicy};
use crate::model::reference::references;
use crate::model::sample;
use crate::model::step::{ImageRequest, Step};

/// A pod of an API server with that specification beside one container.
fn with_spec(spec: Value) -> Result<Pod, Vec<String>> {
    let mut object = json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u1"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    });
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    api_pod(object)
}

/// Why the container of that name is not created.
fn refusal(pod: &Pod, container: &str) -> Option<String> {
    let requests = steps(pod, &sample::policy())
        .into_iter()
        .filter_map(|step| match step {
            Step::CreateContainer(request) if request.container == container => Some(request),
            _ => None,
        });
    let mut requests = requests;
    requests.next().unwrap().refusal
}

/// A manifest is refused, with a problem that says that.
fn check_manifest(spec: &str, wants: &str) {
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers: [{{name: c, image: x}}]\n{spec}"
    );
    let told = problems(manifest.as_bytes());
    assert!(told.contains(wants), "{wants} is not in\n{told}of\n{manifest}");
}

#[test]
fn cve_2023_2431_a_localhost_profile_without_a_name_is_no_profile() {
    let seccomp = "localhostProfile must be set if seccompProfile type is Localhost.";
    let apparmor = "missing localhost apparmor profile name";
    let missing = "localhostProfile: is missing: the type Localhost needs it";
    for (field, words) in [("seccompProfile", seccomp), ("appArmorProfile", apparmor)] {
        for profile in [
            json!({"type": "Localhost", "localhostProfile": ""}),
            json!({"type": "Localhost"}),
        ] {
            let context = json!({field: profile});
            let check = |spec: Value, container: &str| {
                let pod = with_spec(spec.clone()).unwrap();
                assert_eq!(refusal(&pod, container).as_deref(), Some(words), "{spec}");
            };
            let own = json!([{"name": "d", "image": "i:1", "securityContext": context}]);
            check(json!({"securityContext": context}), "c");
            check(json!({"containers": own}), "d");
            check(json!({"initContainers": own}), "d");
            check(json!({"ephemeralContainers": own}), "d");
            check_manifest(&format!("  securityContext: {context}\n"), missing);
            check_manifest(&format!("  initContainers: {own}\n"), missing);
        }
    }
}

#[test]
fn cve_2024_10220_a_git_repository_is_no_volume() {
    let volumes =
        json!([{"name": "v", "gitRepo": {"repository": "https://example.com/a.git", "directory": ".git"}}]);
    let refused = with_spec(json!({"volumes": volumes})).unwrap_err();
    assert_eq!(refused[0], "is not supported by this version of gantry yet");
    check_manifest(
        &format!("  volumes: {volumes}\n"),
        "spec.volumes[0].gitRepo: is not supported by this version of gantry yet",
    );
}

#[test]
fn cve_2025_1767_nor_is_one_of_this_machine() {
    for repository in ["/etc", "file:///etc/kubernetes"] {
        let volumes = json!([{"name": "v", "gitRepo": {"repository": repository}}]);
        let refused = with_spec(json!({"volumes": volumes})).unwrap_err();
        assert_eq!(refused[0], "is not supported by this version of gantry yet");
        check_manifest(
            &format!("  volumes: {volumes}\n"),
            "spec.volumes[0].gitRepo: is not supported",
        );
    }
}

#[test]
fn cve_2025_4563_a_static_pod_gets_no_resources_of_claims() {
    let claims = "  resourceClaims: [{name: gpu, resourceClaimName: somebodys}]\n";
    check_manifest(claims, "spec.resourceClaims: ");
    check_manifest(
        "  resources: {claims: [{name: gpu}]}\n",
        "spec.resources.claims: ",
    );
    let own = "  initContainers: [{name: d, image: x, resources: {claims: [{name: gpu}]}}]\n";
    check_manifest(own, "spec.initContainers[0].resources: ");
    // Nobody deals them out to pods of the API server either.
    let claims = json!([{"name": "gpu", "resourceClaimName": "somebodys"}]);
    let refused = with_spec(json!({"resourceClaims": claims})).unwrap_err();
    assert_eq!(refused, ["is not supported by this version of gantry yet"]);
}

#[test]
fn cve_2023_2727_the_image_of_an_added_container_is_had_like_any_other() {
    let container = |name: &str| json!([{"name": name, "image": "registry.example.com/i:1", "imagePullPolicy": "Always"}]);
    let pod =
        with_spec(json!({"containers": container("c"), "ephemeralContainers": container("debug")})).unwrap();
    let of = |name: &str| -> ImageRequest {
        let requests = steps(&pod, &sample::policy())
            .into_iter()
            .filter_map(|step| match step {
                Step::EnsureImage(request) if request.container == name => Some(request),
                _ => None,
            });
        let mut requests = requests;
        requests.next().unwrap()
    };
    let (own, added) = (of("c"), of("debug"));
    assert_eq!(added.pull, PullPolicy::Always);
    let renamed = ImageRequest {
        container: "c".to_owned(),
        ..added
    };
    assert_eq!(renamed, own);
}

#[test]
fn cve_2023_2728_what_an_added_container_takes_values_from_is_asked_for_its_pod_by_name() {
    let added = json!([{
        "name": "debug", "image": "i:1",
        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "one", "key": "k"}}}],
        "envFrom": [{"secretRef": {"name": "other"}}],
    }]);
    let plain = with_spec(json!({})).unwrap();
    let pod = with_spec(json!({"ephemeralContainers": added})).unwrap();
    assert_eq!((references(&plain).len(), references(&pod).len()), (0, 2));
    check_manifest(
        &format!("  ephemeralContainers: {added}\n"),
        "spec.ephemeralContainers: cannot be in a manifest",
    );
}

#[test]
fn an_apparmor_profile_in_an_annotation_counts_before_the_pods() {
    let profile = |extra: &str| {
        let manifest = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    \
             container.apparmor.security.beta.kubernetes.io/c: localhost/tight\nspec:\n  {extra}\n  \
             containers: [{{name: c, image: x}}, {{name: d, image: x}}]\n"
        );
        let pod = super::pod(&manifest);
        let of = |index: usize| pod.containers[index].security.apparmor.clone();
        (of(0), of(1))
    };
    use crate::model::pod::Profile::{Localhost, RuntimeDefault, Unstated};
    assert_eq!(
        profile("hostNetwork: false"),
        (Localhost("tight".to_owned()), Unstated)
    );
    let pods =
        with_spec(json!({"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}})).unwrap();
    assert_eq!(pods.containers[0].security.apparmor, RuntimeDefault);
}

#[test]
fn a_security_field_with_a_value_of_another_version_is_refused_and_not_dropped() {
    let check = |spec: Value, value: &str| {
        let want = format!("{value:?} is not supported by this version of gantry yet");
        assert_eq!(with_spec(spec.clone()).unwrap_err(), [want], "{spec}");
    };
    let own =
        |context: Value| json!({"containers": [{"name": "c", "image": "i:1", "securityContext": context}]});
    check(
        json!({"securityContext": {"supplementalGroupsPolicy": "Stricter"}}),
        "Stricter",
    );
    check(own(json!({"seccompProfile": {"type": "Learned"}})), "Learned");
    check(own(json!({"appArmorProfile": {"type": "Learned"}})), "Learned");
    check(own(json!({"procMount": "Nothing"})), "Nothing");
    let mount = |field: &str, value: &str| {
        let mount = json!([{"name": "v", "mountPath": "/v", "readOnly": true, field: value}]);
        json!({
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{"name": "c", "image": "i:1", "volumeMounts": mount}],
        })
    };
    check(mount("recursiveReadOnly", "Always"), "Always");
    check(mount("mountPropagation", "Sideways"), "Sideways");
}
