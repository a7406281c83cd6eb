//! Bodies that kubectl sends: the media type, a line break, and the body.

use gantry::manifest::edit;
use gantry::model::manifest_edit::Hidden;
use gantry::serve::kube::body;
use serde_json::{Value, json};

const MAP: &str =
    r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{"b":"c"}},"data":{"k":"v"}}"#;
const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"colour":1,"containers":[{"name":"m","image":"i","env":[{"name":"A","value":"x"}]}],"colour":2}}"#;
const STRATEGIC: &str = r#"{"metadata":{"labels":{"b":null}},"spec":{"containers":[{"name":"m","env":[{"$patch":"delete","name":"A"}]}],"$setElementOrder/containers":[{"name":"m"}]}}"#;
const OPERATIONS: &str = r#"[{"op":"test","path":"/metadata/name","value":"p"},{"op":"add","path":"/spec/containers/-","value":{"name":"n"}},{"op":"copy","from":"/spec","path":"/data"},{"op":"move","from":"/data","path":"/spec"},{"op":"remove","path":"/metadata/labels"}]"#;
/// A ConfigMap `a` with `k: v`, as newer releases send it.
const PROTOBUF: &[u8] =
    b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0d\x0a\x03\x0a\x01a\x12\x06\x0a\x01k\x12\x01v";

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let body = |kind: &str, body: &[u8]| [kind.as_bytes(), b"\n", body].concat();
    vec![
        body("application/json", MAP.as_bytes()),
        body("application/json", POD.as_bytes()),
        body(
            "application/yaml",
            b"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: &a v, l: *a}\n",
        ),
        body("application/vnd.kubernetes.protobuf", PROTOBUF),
        body("application/strategic-merge-patch+json", STRATEGIC.as_bytes()),
        body(
            "application/merge-patch+json",
            br#"{"data":{"k":null,"l":"w"},"metadata":{"labels":null}}"#,
        ),
        body("application/json-patch+json", OPERATIONS.as_bytes()),
    ]
}

/// What is read is bounded, and what is patched stays an object that can be written.
pub(super) fn run(input: &[u8]) -> bool {
    let end = input
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(input.len());
    let kind = String::from_utf8_lossy(&input[..end]);
    let body = input.get(end + 1..).unwrap_or_default();
    if let Ok(read) = body::object(&kind, body) {
        assert!(read.duplicates.len() <= 100);
        let Hidden(object) = read.content;
        if kind == "application/json" {
            assert_eq!(serde_json::from_slice::<Value>(body).ok().as_ref(), Some(&object));
        }
        // Checked as what lies in the manifests directory.
        super::manifest(object.to_string().as_bytes());
        return object.is_object();
    }
    let Ok(patch) = body::patch(&kind, body) else {
        return false;
    };
    let bases = [MAP, POD].map(|text| serde_json::from_str::<Value>(text).unwrap_or_else(|_| json!({})));
    let patched = bases.map(|base| edit::apply(base, patch.content.clone()));
    let mut is_understood = false;
    for patched in patched.into_iter().flatten() {
        super::manifest(patched.to_string().as_bytes());
        is_understood = true;
    }
    is_understood
}
