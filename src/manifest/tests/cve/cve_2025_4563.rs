//! A mirror pod got devices of a resource claim that its node may not use. gantry gives devices of claims to no pod.

use serde_json::json;

use super::check_manifest;
use crate::manifest::tests::planned::with_spec;

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
    // API pods do not get them either.
    let claims = json!([{"name": "gpu", "resourceClaimName": "somebodys"}]);
    let refused = with_spec(json!({"resourceClaims": claims})).unwrap_err();
    assert_eq!(refused, ["is not supported by this version of gantry yet"]);
}
