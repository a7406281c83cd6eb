//! Fields of objects were trusted: here a name that is a path, in what an API server answers.

use gantry::manifest::ManifestContext;
use gantry::manifest::{check_identity, read_api_pod};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

fn pod(change: impl FnOnce(&mut Value)) -> Pod {
    let mut object = json!({
        "metadata": {"namespace": "ns", "name": "p", "uid": "25b0d2a4-5f1c-4f6e-9c5a-1e6a1f1f2b11"},
        "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "emptyDir": {}}]},
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

#[test]
fn cve_2021_25735_a_pod_known_by_a_path_is_known_by_nothing() {
    assert!(check_identity(&pod(|_| {}).metadata).is_ok());
    for field in ["namespace", "name", "uid"] {
        for path in ["..", "../../etc", "a/b", ".", "", "a\0", "a\n"] {
            let object = pod(|object| object["metadata"][field] = json!(path));
            let problem = check_identity(&object.metadata).unwrap_err();
            assert_eq!(problem.field, format!("metadata.{field}"), "{path:?}");
            assert!(problem.pod.is_none());
        }
    }
}

#[test]
fn cve_2021_25735_a_pod_whose_parts_are_paths_is_refused_with_the_field() {
    let check = |pointer: &str, path: &str, field: &str| {
        let object = pod(|object| *object.pointer_mut(pointer).unwrap() = json!(path));
        let read = read_api_pod(object, &ManifestContext::default(), Timestamp::UNIX_EPOCH);
        let problems = read.unwrap_err();
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, [field], "{path:?}");
    };
    for path in ["..", "../x", "a/b", ""] {
        check("/spec/containers/0/name", path, "spec.containers[0].name");
        check("/spec/volumes/0/name", path, "spec.volumes[0].name");
    }
}
