//! Faults between the agent and the API server: slow and failing calls, watches that are too old.

use std::time::Duration;

use serde_json::{Value, json};

use crate::churn::Churn;
use crate::cluster::Cluster;
use crate::control_plane::{kubectl, wait_node_ready};
use crate::end_state::{assert_is_all, reported};
use crate::fault_proxy::{FaultProxy, Mode};
use crate::manifest;
use crate::node::{LONG, SOON, is_ready};
use crate::objects::{IDLE, condition, name, pod, spec, uid, workload};
use crate::wait::wait_for;

const NODE: &str = "/api/v1/nodes/node-1";
/// How many pods are left alone.
const CALM: usize = 2;

/// Pods that are left alone, with a ConfigMap in a volume.
fn make_calm(cluster: &Cluster) {
    let map = json!({"metadata": {"name": "page"}, "data": {"index.html": "first"}});
    cluster.create("configmaps", &map);
    let mut spec = spec(IDLE);
    spec["volumes"] = json!([{"name": "page", "configMap": {"name": "page"}}]);
    spec["containers"][0]["volumeMounts"] = json!([{"name": "page", "mountPath": "/page"}]);
    let object = workload("calm", spec, json!({"replicas": CALM}));
    cluster.create("apps/v1/deployments", &object);
}

/// What the pods that are left alone read of their ConfigMap.
fn page(cluster: &Cluster, pod: &str) -> Result<String, String> {
    let namespace = format!("--namespace={}", cluster.namespace);
    let output = cluster
        .node
        .gantry(&["exec", &namespace, pod, "--", "cat", "/page/index.html"]);
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(crate::process::text(&output)),
    }
}

#[track_caller]
fn wait_page(cluster: &Cluster, pods: &[Value], expected: &str) {
    for pod in pods.iter().map(name).filter(|name| name.starts_with("calm-")) {
        wait_for("the volume to follow its ConfigMap", LONG, || {
            match page(cluster, &pod)? {
                text if text == expected => Ok(()),
                other => Err(other),
            }
        });
    }
}

fn ready_since(cluster: &Cluster) -> Value {
    let node = cluster.api.get(NODE).expect("the cluster waited for it");
    condition(&node, "Ready")["lastTransitionTime"].clone()
}

pub fn slow_and_failing_calls_undo_nothing(cluster: &mut Cluster) {
    let proxy = FaultProxy::build(cluster);
    make_calm(cluster);
    let calm = reported(&cluster.wait_all_running(CALM));
    let ready = ready_since(cluster);
    proxy.set(Mode::Faulty);
    let mut churn = Churn::new();
    let namespace = format!("--namespace={}", cluster.namespace);
    for round in 0..30 {
        churn.change(cluster);
        match round {
            5 => cluster.node.manifest("static.yaml", &manifest::idle("static")),
            10 => proxy.tear(),
            12 => {
                let second = json!({"data": {"index.html": "second"}});
                cluster.api.patch(&cluster.at("configmaps", "page"), &second);
            }
            20 => {
                kubectl(&["scale", "deployment/calm", "--replicas=4", &namespace]);
            }
            _ => {}
        }
        std::thread::sleep(churn.random.next(Duration::from_millis(800))); // the random moment
    }
    // What was asked for in this weather is done in it.
    let mirror = "/api/v1/namespaces/default/pods/static-node-1";
    cluster.api.wait(mirror, "running", LONG, is_ready);
    churn.wait_settled(cluster, CALM + 2);
    cluster.node.remove("static.yaml");
    cluster.api.wait_gone(mirror, LONG);
    proxy.set(Mode::Pass);
    println!("{} requests were spoiled", proxy.spoiled());
    assert!(proxy.spoiled() > 20, "the proxy injected faults");

    let pods = churn.wait_settled(cluster, CALM + 2);
    let now = reported(&pods);
    for (uid, id) in &calm {
        assert_eq!(now.get(uid), Some(id), "a pod that was left alone");
    }
    wait_page(cluster, &pods, "second");
    assert_is_all(cluster, &pods);
    assert_eq!(ready_since(cluster), ready, "the node was not ready for a while");
    proxy.leave(cluster);
    assert_is_all(cluster, &pods);
}

pub fn watches_that_are_too_old_lose_nothing(cluster: &mut Cluster) {
    let proxy = FaultProxy::build(cluster);
    make_calm(cluster);
    let before = cluster.wait_all_running(CALM);
    let calm = reported(&before);
    // Told so in the middle of a watch, while something changes.
    let mut churn = Churn::new();
    let all = proxy.watches();
    for _ in 0..3 {
        wait_for("all watches to be there again", LONG, || match proxy.watches() {
            now if now >= all => Ok(()),
            now => Err(format!("{now} of {all}")),
        });
        churn.change(cluster);
        let told = proxy.expired();
        proxy.expire();
        churn.change(cluster);
        // One that was not told yet counts as there, and two signs at once are one.
        wait_for("all watches to be told so", LONG, || {
            let now = proxy.expired();
            (now >= told + all)
                .then_some(())
                .ok_or(format!("{now} after {told}"))
        });
    }
    churn.wait_settled(cluster, CALM);
    cluster.create("pods", &pod("replaced", IDLE));
    let replaced = uid(&cluster.wait_running("replaced"));
    let expired_by_us = proxy.expired();
    assert!(
        expired_by_us >= 3 * all,
        "{expired_by_us} were told so, thrice {all}"
    );

    // And by the API server, which knows nothing any more of what was when the watches broke off.
    proxy.set(Mode::Closed);
    proxy.tear();
    for _ in 0..10 {
        churn.change(cluster);
    }
    let namespace = format!("--namespace={}", cluster.namespace);
    let force = ["--force", "--grace-period=0"];
    kubectl(
        &[
            ["delete", "pod", "replaced", namespace.as_str()].as_slice(),
            force.as_slice(),
        ]
        .concat(),
    );
    cluster.create("pods", &pod("replaced", IDLE));
    let second = json!({"data": {"index.html": "second"}});
    cluster.api.patch(&cluster.at("configmaps", "page"), &second);
    cluster.plane.kill_server();
    cluster.plane.compact();
    cluster.plane.start_server();
    proxy.set(Mode::Pass);

    let pods = churn.wait_settled(cluster, CALM + 1);
    let expired_by_server = proxy.expired() - expired_by_us;
    println!("{expired_by_us} watches were told 410 here, {expired_by_server} by the API server");
    assert!(expired_by_server > 0, "no watch was too old");
    let now = reported(&pods);
    for (uid, id) in &calm {
        assert_eq!(now.get(uid), Some(id), "a pod that was left alone");
    }
    assert!(!now.contains_key(&replaced), "the former pod of the name is gone");
    wait_page(cluster, &pods, "second");
    assert_is_all(cluster, &pods);
    wait_node_ready(&cluster.api);
    proxy.leave(cluster);
    cluster.create("pods", &pod("last", IDLE));
    cluster
        .api
        .wait(&cluster.at("pods", "last"), "running", SOON, is_ready);
}
