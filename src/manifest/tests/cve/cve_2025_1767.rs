//! A `gitRepo` volume cloned repositories of the host itself, and so read other pods' files. gantry has no such volume.

use serde_json::json;

use super::check_manifest;
use crate::manifest::tests::planned::with_spec;

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
