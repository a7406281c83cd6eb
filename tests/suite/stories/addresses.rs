//! The node's addresses come, change and go while pods run.

use k8s_openapi::api::core::v1::Pod;

use crate::agent::{Machine, manifest, message};

/// The addresses that a pod's status has: of the node, and its own.
fn addresses(pod: &Pod) -> [&str; 2] {
    let status = pod.status.as_ref().unwrap();
    [&status.host_ip, &status.pod_ip].map(|ip| ip.as_deref().unwrap_or("none"))
}

#[tokio::test]
async fn pods_follow_the_addresses_of_their_node() {
    let machine = Machine::started().await;
    machine.set_addresses(&[]);
    let asking =
        "name: c, image: demo:1, env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]";
    machine.write(
        "host.yaml",
        &manifest("host", "hostNetwork: true", &["name: c, image: demo:1"]),
    );
    machine.write("web.yaml", &manifest("web", "", &[asking]));
    let host = machine.running("host").await;
    assert_eq!(addresses(&host), ["none", "none"]);
    let lacks = |pod: &Pod| message(pod, "c") == "host IP unknown: the node has no address yet";
    machine
        .pod_told("web", "that the node has no address", lacks)
        .await;

    machine.set_addresses(&["192.0.2.7"]);
    machine.running("web").await;
    let at = |wanted: [&'static str; 2]| move |pod: &Pod| addresses(pod) == wanted;
    let first = at(["192.0.2.7", "192.0.2.7"]);
    machine.pod_told("host", "the node's first address", first).await;
    machine.set_addresses(&["198.51.100.7"]);
    let second = at(["198.51.100.7", "198.51.100.7"]);
    machine.pod_told("host", "the node's other address", second).await;
    machine
        .pod_told("web", "its node's other address", |pod| {
            addresses(pod)[0] == "198.51.100.7"
        })
        .await;
}
