//! Other resources for a pod that runs.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::node::container;
use crate::objects::{IDLE, condition, pod};

/// The same as request and as limit.
fn asks(cpu: &str, memory: &str) -> Value {
    let amounts = json!({"cpu": cpu, "memory": memory});
    json!({"requests": amounts, "limits": amounts})
}

fn resize(cluster: &Cluster, resources: &Value) {
    let path = cluster.at("pods", "web");
    let pod = cluster.api.get(&path).expect("it is there");
    let mut containers = pod["spec"]["containers"].clone();
    containers[0]["resources"] = resources.clone();
    let patch = json!({"spec": {"containers": containers}});
    cluster.api.patch(&format!("{path}/resize"), &patch);
}

/// Waits until the container has them and no resize is reported any more.
fn wait_resized(cluster: &Cluster, resources: &Value) -> Value {
    cluster.wait("pods", "web", "resized", |pod| {
        let reported = |kind: &str| condition(pod, kind).is_object();
        let has = container(pod, "main")["resources"] == *resources;
        has && !reported("PodResizeInProgress") && !reported("PodResizePending")
    })
}

pub fn a_running_pod_gets_other_resources(cluster: &mut Cluster) {
    let mut object = pod("web", "trap 'exit 0' TERM; sleep 100000 & wait");
    object["spec"]["containers"][0]["resources"] = asks("100m", "32Mi");
    object["spec"]["containers"][0]["resizePolicy"] =
        json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    cluster.create("pods", &object);
    cluster.wait_running("web");
    resize(cluster, &asks("200m", "32Mi"));
    let resized = wait_resized(cluster, &asks("200m", "32Mi"));
    assert_eq!(container(&resized, "main")["restartCount"], 0);
    assert_eq!(resized["status"]["observedGeneration"], 2);
    resize(cluster, &asks("200m", "48Mi"));
    let restarted = wait_resized(cluster, &asks("200m", "48Mi"));
    assert_eq!(container(&restarted, "main")["restartCount"], 1);
    // What others use waits until they go. More than the node has is refused by the API server itself.
    let mut others = pod("others", IDLE);
    others["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1500m"}});
    cluster.create("pods", &others);
    cluster.wait_running("others");
    resize(cluster, &asks("1", "48Mi"));
    let deferred = cluster.wait("pods", "web", "deferred", |pod| {
        condition(pod, "PodResizePending")["reason"] == "Deferred"
    });
    assert_eq!(container(&deferred, "main")["allocatedResources"]["cpu"], "200m");
    cluster.api.delete(&cluster.at("pods", "others"));
    let granted = wait_resized(cluster, &asks("1", "48Mi"));
    assert_eq!(container(&granted, "main")["restartCount"], 1);
}
