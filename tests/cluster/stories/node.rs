//! The Node and its Lease.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::control_plane::wait_node_ready;
use crate::node::{LONG, NODE_IP, SOON};
use crate::objects::{condition, holds, uid};

const NODE: &str = "/api/v1/nodes/node-1";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1";

pub fn it_registers_and_renews_its_lease(cluster: &mut Cluster) {
    let node = cluster.api.get(NODE).expect("the cluster waited for it");
    let status = &node["status"];
    for resource in ["cpu", "memory", "pods", "ephemeral-storage"] {
        assert!(status["capacity"][resource].is_string(), "{status}");
        assert!(status["allocatable"][resource].is_string(), "{status}");
    }
    assert_eq!(
        status["addresses"],
        json!([
            {"type": "InternalIP", "address": NODE_IP},
            {"type": "Hostname", "address": "node-1"},
        ])
    );
    assert_eq!(condition(&node, "Ready")["reason"], "KubeletReady", "{status}");
    for pressure in ["MemoryPressure", "DiskPressure", "PIDPressure"] {
        assert_eq!(condition(&node, pressure)["status"], "False", "{status}");
    }
    let version = &status["nodeInfo"]["kubeletVersion"];
    assert!(
        version
            .as_str()
            .is_some_and(|version| version.starts_with("v1.36.")),
        "{version}"
    );
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "node-1");
    let lease = wait_lease(cluster, &node);
    let first = lease["spec"]["renewTime"].clone();
    // Every 10 s.
    cluster
        .api
        .wait(LEASE, "renewed", Duration::from_secs(15), |lease| {
            lease["spec"]["renewTime"] != first
        });
}

pub fn it_registers_again_when_it_was_deleted(cluster: &mut Cluster) {
    let first = uid(&cluster.api.get(NODE).expect("the cluster waited for it"));
    cluster.api.delete(NODE);
    let second = cluster.api.wait(NODE, "there again", SOON, |node| {
        uid(node) != first && holds(node, "Ready")
    });
    wait_node_ready(&cluster.api);
    // Else it would be collected with the former Node.
    wait_lease(cluster, &second);
}

/// Waits until the Lease belongs to this Node.
#[track_caller]
fn wait_lease(cluster: &Cluster, node: &Value) -> Value {
    let owner =
        json!([{"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": node["metadata"]["uid"]}]);
    cluster.api.wait(LEASE, "the Node's", LONG, |lease| {
        lease["spec"]["holderIdentity"] == "node-1"
            && lease["spec"]["leaseDurationSeconds"] == 40
            && lease["metadata"]["ownerReferences"] == owner
    })
}
