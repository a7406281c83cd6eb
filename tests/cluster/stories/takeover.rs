//! The pods of an API server taken over from the real kubelet, and given back: nothing restarts, no pod is made
//! again, and what is reported about them stays.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::control_plane::{NODE, wait_node_ready};
use crate::kubelet::Kubelet;
use crate::manifest;
use crate::node::{LONG, SOON, container, ip, is_ready, wait_http};
use crate::objects::{IDLE, condition, name, pod, spec, web, workload};
use crate::runtime_state::RuntimeState;

/// How many pods the Deployment has.
const REPLICAS: usize = 24;
/// And how many there are in all.
const PODS: usize = REPLICAS + 5;

pub fn pods_of_the_api_go_from_the_kubelet_to_gantry_and_back(cluster: &mut Cluster) {
    cluster.node.stop_agent();
    let kubelet = start_kubelet(cluster);
    make_pods(cluster);
    let before = wait_settled(cluster);
    let address = format!("{}:8080", ip(&before["web"]));
    wait_http(&address, "/", "all the while");
    let running = RuntimeState::at_rest(&["succeeded", "failed"]);

    kubelet.stop();
    cluster.node.start_agent();
    let after = same_after(cluster, Successor::Gantry, &running, &before);
    wait_http(&address, "/", "all the while");

    cluster.node.stop_agent();
    let kubelet = start_kubelet(cluster);
    let after = same_after(cluster, Successor::Kubelet, &running, &after);
    kubelet.stop();
    cluster.node.start_agent();
    same_after(cluster, Successor::Gantry, &running, &after);
    // The successor of all still rules what it found.
    cluster.api.delete(&cluster.at("pods", "web"));
    cluster.api.wait_gone(&cluster.at("pods", "web"), SOON);
}

/// Starts the kubelet as the same node, and waits until it has reported.
fn start_kubelet(cluster: &Cluster) -> Kubelet {
    let kubelet = Kubelet::start(&[&format!("--kubeconfig={NODE}")]);
    wait_node_ready(&cluster.api);
    kubelet
}

/// One pod of each kind whose memory lies in other places.
fn make_pods(cluster: &Cluster) {
    let object = workload("many", spec(IDLE), json!({"replicas": REPLICAS}));
    cluster.create("apps/v1/deployments", &object);
    let mut served = pod("web", &web("all the while"));
    let main = &mut served["spec"]["containers"][0];
    main["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
    main["resources"] = json!({"requests": {"cpu": "10m"}, "limits": {"memory": "32Mi"}});
    served["spec"]["initContainers"] =
        json!([{"name": "before", "image": "gantry.local/busybox:1", "command": ["true"]}]);
    cluster.create("pods", &served);
    // Its first container's end is in the memory of the runtime alone.
    let mut once = pod(
        "once",
        &format!("test -e /data/was || {{ touch /data/was; exit 3; }}; {IDLE}"),
    );
    once["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    once["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    cluster.create("pods", &once);
    for (name, script) in [("succeeded", "exit 0"), ("failed", "exit 3")] {
        let mut ended = pod(name, script);
        ended["spec"]["restartPolicy"] = json!("Never");
        cluster.create("pods", &ended);
    }
    let mut host = pod("host", IDLE);
    host["spec"]["hostNetwork"] = json!(true);
    cluster.create("pods", &host);
    cluster.node.manifest("static.yaml", &manifest::idle("static"));
}

/// Waits until each pod has come to rest, the static one's mirror among them.
#[track_caller]
fn wait_settled(cluster: &Cluster) -> BTreeMap<String, Value> {
    // A kubelet that is stopped earlier leaves the sandbox to its successor, which then reports its end.
    let ended = |pod: &Value, phase: &str| {
        pod["status"]["phase"] == phase && condition(pod, "PodReadyToStartContainers")["status"] == "False"
    };
    let rests = |pod: &Value| match name(pod).as_str() {
        "succeeded" => ended(pod, "Succeeded"),
        "failed" => ended(pod, "Failed"),
        "once" => is_ready(pod) && container(pod, "main")["restartCount"] == 1,
        _ => is_ready(pod),
    };
    let mut pods = cluster.wait_pods("at rest", LONG, |pods| {
        pods.len() == PODS && pods.iter().all(rests)
    });
    let mirror = "/api/v1/namespaces/default/pods/static-node-1";
    pods.push(cluster.api.wait(mirror, "running", SOON, is_ready));
    pods.into_iter().map(|pod| (name(&pod), pod)).collect()
}

/// Who has taken the pods over. The kubelet forgets when a static pod started, where pods that have ended were, and
/// that probes had passed, and it reports the cgroups that it finds; what we report stays to the letter.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Successor {
    Gantry,
    Kubelet,
}

/// After the successor has reported itself, everything is and stays as it was.
#[track_caller]
fn same_after(
    cluster: &Cluster,
    successor: Successor,
    running: &RuntimeState,
    before: &BTreeMap<String, Value>,
) -> BTreeMap<String, Value> {
    wait_settled(cluster);
    running.stays(&format!("with {successor:?}"));
    let after = wait_settled(cluster);
    for (name, pod) in before {
        let (before, after) = (reported(pod, successor), reported(&after[name], successor));
        assert_eq!(before, after, "{name}, with {successor:?}");
    }
    after
}

/// What is compared of what the API server has of a pod.
fn reported(pod: &Value, successor: Successor) -> Value {
    let mut status = pod["status"].clone();
    if successor == Successor::Kubelet {
        let is_running = status["phase"] == "Running";
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"].take();
        }
        status["startTime"].take();
        status["resources"].take();
        if !is_running {
            status["podIP"].take();
            status["podIPs"].take();
        }
    }
    // Conditions are a list that is merged by its key: their order says nothing.
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.sort_by_key(|condition| condition["type"].to_string());
    }
    json!({"uid": pod["metadata"]["uid"], "status": status})
}
