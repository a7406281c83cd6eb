//! The cells of an object's row. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use serde_json::{Value, json};

use crate::model::{age, node_row, pod_row};
use crate::serve::kube::object::Object;

/// The cells, one for each column of the kind.
pub(super) fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    match object {
        Object::ConfigMap(map) => of_config_map(map, now),
        Object::Event(event) => of_event(event, now),
        Object::Namespace(namespace) => of_namespace(namespace, now),
        Object::Node(node) => of_node(node, now),
        Object::Pod(pod) => of_pod(pod, now),
        Object::Secret(secret) => of_secret(secret, now),
    }
}

fn since(time: Option<&Time>, now: Timestamp) -> String {
    time.map_or_else(unknown, |time| age::since(time.0, now))
}

fn since_micro(time: Option<&MicroTime>, now: Timestamp) -> String {
    time.map_or_else(unknown, |time| age::since(time.0, now))
}

fn unknown() -> String {
    "<unknown>".to_owned()
}

fn created(metadata: &ObjectMeta, now: Timestamp) -> String {
    since(metadata.creation_timestamp.as_ref(), now)
}

/// The text, or a stand-in where there is none.
fn or<'a>(text: Option<&'a str>, stand_in: &'a str) -> &'a str {
    text.filter(|text| !text.is_empty()).unwrap_or(stand_in)
}

fn or_none(text: Option<&str>) -> &str {
    or(text, "<none>")
}

fn of_pod(pod: &Pod, now: Timestamp) -> Vec<Value> {
    let row = pod_row::row(pod, now);
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let ips = status.and_then(|status| status.pod_ips.as_ref());
    let first = ips.and_then(|ips| ips.first()).map(|one| one.ip.as_str());
    // An API server derives the list from the address where it is missing.
    let ip = first.or_else(|| status.and_then(|status| status.pod_ip.as_deref()));
    let nominated = status.and_then(|status| status.nominated_node_name.as_deref());
    vec![
        json!(pod.metadata.name),
        json!(row.ready),
        json!(row.status),
        json!(row.restarts),
        json!(created(&pod.metadata, now)),
        json!(or_none(ip)),
        json!(or_none(spec.and_then(|spec| spec.node_name.as_deref()))),
        json!(or_none(nominated)),
        json!(readiness_gates(pod)),
    ]
}

fn readiness_gates(pod: &Pod) -> String {
    let gates = pod
        .spec
        .iter()
        .flat_map(|spec| spec.readiness_gates.iter().flatten());
    let conditions = || {
        pod.status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten())
    };
    let holds = |kind: &str| {
        let condition = conditions().find(|condition| condition.type_ == kind);
        condition.is_some_and(|condition| condition.status == "True")
    };
    let held: Vec<bool> = gates.map(|gate| holds(&gate.condition_type)).collect();
    match held.is_empty() {
        true => "<none>".to_owned(),
        false => format!("{}/{}", held.iter().filter(|held| **held).count(), held.len()),
    }
}

fn of_node(node: &Node, now: Timestamp) -> Vec<Value> {
    let status = node.status.as_ref();
    let info = status.and_then(|status| status.node_info.as_ref());
    let address = |kind: &str| {
        let mut all = status.iter().flat_map(|status| status.addresses.iter().flatten());
        let found = all.find(|address| address.type_ == kind);
        or_none(found.map(|address| address.address.as_str())).to_owned()
    };
    let kernel = info.map(|info| {
        let kernel = or(Some(&info.kernel_version), "<unknown>");
        match info.architecture.as_str() {
            "" => kernel.to_owned(),
            architecture => format!("{kernel} ({architecture})"),
        }
    });
    let known = |text: Option<&str>| or(text, "<unknown>").to_owned();
    vec![
        json!(node.metadata.name),
        json!(node_row::status(node)),
        json!(node_row::roles(node)),
        json!(created(&node.metadata, now)),
        json!(info.map_or("", |info| &info.kubelet_version)),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        json!(known(info.map(|info| info.os_image.as_str()))),
        json!(known(kernel.as_deref())),
        json!(known(info.map(|info| info.container_runtime_version.as_str()))),
    ]
}

fn of_event(event: &Event, now: Timestamp) -> Vec<Value> {
    let first = match &event.first_timestamp {
        None => since_micro(event.event_time.as_ref(), now),
        first => since(first.as_ref(), now),
    };
    let (last, count) = match &event.series {
        Some(series) => (
            since_micro(series.last_observed_time.as_ref(), now),
            series.count.unwrap_or(0),
        ),
        None => {
            let last = event.last_timestamp.as_ref();
            let last = last.map_or_else(|| first.clone(), |last| since(Some(last), now));
            // One that happened once may have no count.
            (last, event.count.filter(|count| *count != 0).unwrap_or(1))
        }
    };
    let about = &event.involved_object;
    let kind = about.kind.as_deref().unwrap_or_default().to_lowercase();
    let target = match about.name.as_deref() {
        None | Some("") => kind,
        Some(name) => format!("{kind}/{name}"),
    };
    vec![
        json!(last),
        json!(event.type_.as_deref().unwrap_or_default()),
        json!(event.reason.as_deref().unwrap_or_default()),
        json!(target),
        json!(about.field_path.as_deref().unwrap_or_default()),
        json!(source(event)),
        json!(event.message.as_deref().unwrap_or_default().trim()),
        json!(first),
        json!(count),
        json!(event.metadata.name),
    ]
}

/// `kubelet, vm`
fn source(event: &Event) -> String {
    let source = event.source.as_ref();
    let component = source.and_then(|source| source.component.as_deref());
    let host = source.and_then(|source| source.host.as_deref());
    let component = or(
        component,
        event.reporting_component.as_deref().unwrap_or_default(),
    );
    match or(host, event.reporting_instance.as_deref().unwrap_or_default()) {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    }
}

fn of_namespace(namespace: &Namespace, now: Timestamp) -> Vec<Value> {
    let phase = namespace
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    vec![
        json!(namespace.metadata.name),
        json!(phase.unwrap_or_default()),
        json!(created(&namespace.metadata, now)),
    ]
}

fn of_config_map(map: &ConfigMap, now: Timestamp) -> Vec<Value> {
    let text = map.data.as_ref().map_or(0, |data| data.len());
    let binary = map.binary_data.as_ref().map_or(0, |data| data.len());
    vec![
        json!(map.metadata.name),
        json!(text + binary),
        json!(created(&map.metadata, now)),
    ]
}

fn of_secret(secret: &Secret, now: Timestamp) -> Vec<Value> {
    vec![
        json!(secret.metadata.name),
        json!(secret.type_.as_deref().unwrap_or_default()),
        json!(secret.data.as_ref().map_or(0, |data| data.len())),
        json!(created(&secret.metadata, now)),
    ]
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;

    fn check<T: DeserializeOwned>(
        wrap: impl Fn(std::sync::Arc<T>) -> Object,
        object: Value,
        expected: Value,
    ) {
        let now = "2026-11-21T00:10:00Z".parse().unwrap();
        let read: T = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(json!(cells(&wrap(read.into()), now)), expected, "{object}");
    }

    #[test]
    fn a_pod() {
        check(
            Object::Pod,
            json!({"metadata": {"name": "p", "creationTimestamp": "2026-11-21T00:05:00Z"}, "spec": {"containers": []}}),
            json!(["p", "0/0", "", "0", "5m", "<none>", "<none>", "<none>", "<none>"]),
        );
        check(
            Object::Pod,
            json!({
                "metadata": {"name": "p"},
                "spec": {
                    "nodeName": "vm", "containers": [{"name": "a"}, {"name": "b"}],
                    "readinessGates": [{"conditionType": "x/a"}, {"conditionType": "x/b"}],
                },
                "status": {
                    "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                    "conditions": [{"type": "x/a", "status": "True"}, {"type": "x/b", "status": "False"}],
                    "containerStatuses": [{
                        "name": "a", "image": "i", "imageID": "", "ready": true, "restartCount": 3,
                        "state": {"running": {}},
                        "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-11-21T00:08:00Z"}},
                    }],
                },
            }),
            json!([
                "p",
                "1/2",
                "Running",
                "3 (2m ago)",
                "<unknown>",
                "10.0.0.1",
                "vm",
                "<none>",
                "1/2"
            ]),
        );
    }

    #[test]
    fn a_node() {
        check(
            Object::Node,
            json!({"metadata": {"name": "vm"}}),
            json!([
                "vm",
                "Unknown",
                "<none>",
                "<unknown>",
                "",
                "<none>",
                "<none>",
                "<unknown>",
                "<unknown>",
                "<unknown>"
            ]),
        );
        check(
            Object::Node,
            json!({
                "metadata": {"name": "vm", "creationTimestamp": "2026-11-20T00:10:00Z"},
                "status": {
                    "addresses": [{"type": "Hostname", "address": "vm"}, {"type": "InternalIP", "address": "192.0.2.1"}],
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "nodeInfo": {
                        "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "containerd://1.6.20",
                        "kernelVersion": "6.1.0", "kubeProxyVersion": "", "kubeletVersion": "v1.36.2", "machineID": "",
                        "operatingSystem": "linux", "osImage": "Debian", "systemUUID": "",
                    },
                },
            }),
            json!([
                "vm",
                "Ready",
                "<none>",
                "24h",
                "v1.36.2",
                "192.0.2.1",
                "<none>",
                "Debian",
                "6.1.0 (amd64)",
                "containerd://1.6.20"
            ]),
        );
    }

    #[test]
    fn an_event() {
        check(
            Object::Event,
            json!({
                "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
                "type": "Normal", "reason": "Pulled", "message": " done \n", "count": 4,
                "firstTimestamp": "2026-11-21T00:00:00Z", "lastTimestamp": "2026-11-21T00:09:00Z",
                "source": {"component": "kubelet", "host": "vm"},
            }),
            json!([
                "60s",
                "Normal",
                "Pulled",
                "pod/p",
                "spec.containers{a}",
                "kubelet, vm",
                "done",
                "10m",
                4,
                "e"
            ]),
        );
        check(
            Object::Event,
            json!({
                "metadata": {"name": "e"}, "involvedObject": {"kind": "Node"}, "reportingComponent": "x",
                "eventTime": "2026-11-21T00:00:00.000000Z",
            }),
            json!(["10m", "", "", "node", "", "x", "", "10m", 1, "e"]),
        );
    }

    #[test]
    fn the_others() {
        check(
            Object::Namespace,
            json!({"metadata": {"name": "default"}, "status": {"phase": "Active"}}),
            json!(["default", "Active", "<unknown>"]),
        );
        check(
            Object::ConfigMap,
            json!({"metadata": {"name": "m"}, "data": {"a": "", "b": ""}, "binaryData": {"c": ""}}),
            json!(["m", 3, "<unknown>"]),
        );
        check(
            Object::Secret,
            json!({"metadata": {"name": "s"}, "type": "Opaque", "data": {"a": ""}}),
            json!(["s", "Opaque", 1, "<unknown>"]),
        );
    }
}
