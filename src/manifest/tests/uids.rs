//! The UIDs of static pods equal the kubelet's. The expected ones were printed by the decoder, the defaults and the
//! hash of Kubernetes v1.36.2 itself, for the node `node-1` and a file of that name in `/m`.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod as Object;

use super::now;
use crate::manifest::context::ManifestContext;
use crate::manifest::read;
use crate::manifest::uid::fingerprint;

fn context() -> ManifestContext {
    ManifestContext {
        node_name: "node-1".into(),
        privileged_allowed: true,
        allowed_unsafe_sysctls: Vec::new(),
        ..ManifestContext::default()
    }
}

/// Reads a manifest of the repository as the agent does.
fn check(path: &str, uid: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let bytes = std::fs::read(&file).unwrap();
    let name = Path::new("/m").join(file.file_name().unwrap());
    let (pods, problems) = read(&bytes, &name, &context(), now());
    assert_eq!(problems, [], "{path}");
    assert_eq!(pods[0].uid.0, uid, "{path}");
}

#[test]
fn shipped_manifests_have_the_kubelets_uids() {
    check("static-pods/web.yaml", "aed16250d7b8c92a9233e34c33c3c9ce");
    check("static-pods/shared.yaml", "d190877aea1e0fc4601171c2bce2a177");
    check("static-pods/hostnet.yaml", "d29a15753b0ee1688936769e7ae87370");
}

#[test]
fn a_control_plane_has_the_kubelets_uids() {
    check(
        "tests/fixtures/static-pod-uids/control-plane.yaml",
        "726988f4394a5633d22d06e205d66467",
    );
}

#[test]
fn quantities_in_every_spelling_have_the_kubelets_uids() {
    let text = include_str!("../../../tests/fixtures/static-pod-uids/quantities.yaml");
    check_object(&yaml(text), "quantities.yaml", "50b294aa27e022884a82ea3ad6da1a21");
}

#[test]
fn probes_hooks_and_volumes_have_the_kubelets_uids() {
    check(
        "tests/fixtures/static-pod-uids/probes-and-hooks.yaml",
        "1e2dba00bd6d9c700c3de909222a3a8b",
    );
}

#[test]
fn what_static_pods_may_not_ask_for_yet_has_the_kubelets_uid_too() {
    let wide = include_str!("../../../tests/fixtures/static-pod-uids/wide.json");
    let wide = serde_json::from_str(wide).unwrap();
    check_object(&wide, "wide.json", "85a18f777b6c5527c566d98805803fa1");
}

fn yaml(text: &str) -> Object {
    serde_json::from_value(serde_saphyr::from_str(text).unwrap()).unwrap()
}

/// Only the hash, for a manifest that the agent would reject for other reasons.
fn check_object(object: &Object, file: &str, uid: &str) {
    assert_eq!(
        fingerprint::static_pod_uid(object, "node-1", &format!("/m/{file}")),
        uid,
        "{file}"
    );
}
