//! A `gitRepo` volume ran the hooks of the repository that it cloned, as root on the host. gantry has no such volume.

use serde_json::json;

use super::check_manifest;
use crate::manifest::tests::planned::with_spec;

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
