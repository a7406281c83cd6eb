//! A container with the profile type `Localhost` and an empty name ran unconfined. It is not created.

use serde_json::{Value, json};

use super::{check_manifest, refusal};
use crate::manifest::tests::planned::with_spec;

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
