//! Other resources for a pod that runs.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::control_plane::kubectl;
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

pub fn a_running_pod_gets_other_resources_as_a_whole(cluster: &mut Cluster) {
    let limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null";
    let mut object = pod("whole", IDLE);
    object["spec"]["resources"] = asks("200m", "64Mi");
    cluster.create("pods", &object);
    let before = cluster.wait_running("whole");
    assert_eq!(before["status"]["resources"], asks("200m", "64Mi"), "{before}");
    let inside = |cluster: &Cluster| {
        kubectl(&[
            "exec",
            "whole",
            "-n",
            &cluster.namespace,
            "--",
            "sh",
            "-c",
            &format!("{limit}; true"),
        ])
    };
    assert_eq!(inside(cluster).trim(), (64 << 20).to_string());
    let path = cluster.at("pods", "whole");
    let patch = json!({"spec": {"resources": asks("300m", "96Mi")}});
    cluster.api.patch(&format!("{path}/resize"), &patch);
    let resized = cluster.wait("pods", "whole", "resized", |pod| {
        let reported = |kind: &str| condition(pod, kind).is_object();
        let has = pod["status"]["resources"] == asks("300m", "96Mi");
        has && !reported("PodResizeInProgress") && !reported("PodResizePending")
    });
    assert_eq!(container(&resized, "main")["restartCount"], 0);
    assert_eq!(
        resized["status"]["allocatedResources"],
        asks("300m", "96Mi")["requests"]
    );
    // A container without limits of its own has those of its pod.
    assert_eq!(inside(cluster).trim(), (96 << 20).to_string());
}
