//! Ephemeral containers mounted secrets that their service account may not use. That decision is the API server's; here
//! an ephemeral container gets values like the pod's own containers, requested by name, and a manifest has no ephemeral
//! containers.

use serde_json::json;

use super::check_manifest;
use crate::manifest::tests::planned::with_spec;
use crate::model::reference::references;

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
