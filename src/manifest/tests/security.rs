//! Security fields: where they are taken from, and what happens to an unknown value.

use serde_json::{Value, json};

use super::planned::with_spec;

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
