//! The objects that stories make, as short as the API allows.

use serde_json::{Value, json};

/// A container of the demo image that runs a line of shell.
fn container(script: &str) -> Value {
    json!({"name": "main", "image": "gantry.local/busybox:1", "command": ["sh", "-c", script]})
}

/// The spec of a pod with one container that runs a line of shell.
pub fn spec(script: &str) -> Value {
    json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [container(script)],
    })
}

/// A pod of that spec.
pub fn pod(name: &str, script: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": spec(script)})
}

/// A web server that answers with this text on port 8080.
pub fn web(text: &str) -> String {
    format!("mkdir -p /srv; echo '{text}' >/srv/index.html; exec httpd -f -p 8080 -h /srv")
}

/// What does nothing, for ever, and ends when it is asked to.
pub const IDLE: &str = "trap 'exit 0' TERM; while :; do sleep 1000000 & wait $!; done";

/// The labels by which a workload knows its pods, its selector, and its template around a spec.
pub fn workload(name: &str, spec: Value, more: Value) -> Value {
    let mut object = json!({
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    });
    merge(&mut object["spec"], more);
    object
}

/// Puts the keys of one object into another.
fn merge(into: &mut Value, more: Value) {
    let (Value::Object(into), Value::Object(more)) = (into, more) else {
        return;
    };
    for (key, value) in more {
        into.insert(key, value);
    }
}

/// The name of an object.
pub fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// The UID of an object.
pub fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

/// A condition of a pod, a Node or a workload.
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .and_then(|all| all.iter().find(|condition| condition["type"] == kind))
        .unwrap_or(&Value::Null)
}

/// Whether a condition is true.
pub fn holds(object: &Value, kind: &str) -> bool {
    condition(object, kind)["status"] == "True"
}
