//! Pods that are taken away: one by one, by force, with their namespace, from a node that is drained.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::control_plane::{ADMIN, kubectl};
use crate::node::{LONG, SOON, ip, wait_http};
use crate::objects::{IDLE, pod, uid, web, workload};
use crate::runtime;
use crate::wait::wait_for;
use crate::world::control_plane;

/// Ends three seconds after it was asked to. Ready once it listens to being asked: before that nothing happens.
const SLOW: &str = "trap 'sleep 3; exit 0' TERM; : >/listens; while :; do sleep 1000000 & wait $!; done";

/// A pod that does so, with that much time to end.
fn slow(name: &str, grace: u64) -> Value {
    let mut object = pod(name, SLOW);
    object["spec"]["terminationGracePeriodSeconds"] = json!(grace);
    object["spec"]["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["test", "-e", "/listens"]}, "periodSeconds": 1});
    object
}

/// The running containers of a pod of this name.
fn running(pod: &str) -> Result<Vec<runtime::Container>, String> {
    let all = runtime::containers()?.into_iter();
    Ok(all
        .filter(|container| container.pod == pod && container.running)
        .collect())
}

pub fn a_pod_is_there_until_its_containers_are_gone(cluster: &mut Cluster) {
    cluster.create("pods", &slow("slow", 20));
    cluster.wait_running("slow");
    let path = cluster.at("pods", "slow");
    cluster.api.delete(&path);
    let mut was_ending = 0;
    wait_for("the pod to be gone", SOON, || {
        // Asked in this order: what runs now was still listed a moment ago.
        let runs = running("slow")?;
        match cluster.api.get(&path) {
            Ok(pod) => {
                was_ending += usize::from(pod["metadata"]["deletionTimestamp"].is_string());
                Err(pod["status"].to_string())
            }
            Err(error) if error.starts_with("404 ") => {
                let runs = running("slow").map(|now| (runs, now));
                assert!(
                    runs.as_ref().is_ok_and(|(_, now)| now.is_empty()),
                    "gone from the API while it runs: {runs:?}"
                );
                Ok(())
            }
            Err(error) => Err(error),
        }
    });
    assert!(
        was_ending > 10,
        "it was told as ending for its three seconds: {was_ending}"
    );
}

pub fn a_forced_deletion_leaves_nothing_running(cluster: &mut Cluster) {
    let first = cluster.create("pods", &slow("forced", 60));
    cluster.wait_running("forced");
    let namespace = format!("--namespace={}", cluster.namespace);
    kubectl(&[
        "delete",
        "pod",
        "forced",
        &namespace,
        "--force",
        "--grace-period=0",
    ]);
    cluster.api.wait_gone(&cluster.at("pods", "forced"), SOON);

    // The next of its name runs only when the first is gone.
    let second = cluster.create("pods", &pod("forced", &web("the second")));
    assert_ne!(uid(&first), uid(&second));
    let mut together = 0;
    wait_for("the second to run", LONG, || {
        together = together.max(running("forced")?.len());
        let pod = cluster.api.get(&cluster.at("pods", "forced"))?;
        match pod["status"]["phase"].as_str() {
            Some("Running") => Ok(()),
            _ => Err(pod["status"].to_string()),
        }
    });
    assert!(together <= 1, "both ran at once");
    let reported = cluster.wait_running("forced");
    assert_eq!(uid(&reported), uid(&second));
    wait_http(&format!("{}:8080", ip(&reported)), "/", "the second");
}

pub fn a_namespace_goes_with_its_pods(cluster: &mut Cluster) {
    for number in 0..47 {
        cluster.create("pods", &pod(&format!("pod{number}"), IDLE));
    }
    let deployment = workload("web", crate::objects::spec(IDLE), json!({"replicas": 3}));
    cluster.create("apps/v1/deployments", &deployment);
    // Some 6 s each way, and ten times that beside others' work.
    let long = 3 * LONG;
    cluster.wait_pods("50 that run", long, |pods| {
        pods.len() == 50 && pods.iter().all(crate::node::is_ready)
    });
    kubectl(&["delete", "namespace", &cluster.namespace, "--timeout=180s"]);
    wait_for("nothing of them to be left in the runtime", LONG, || {
        let left = runtime::sandboxes()?;
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

pub fn a_drained_node_is_empty_and_takes_pods_again(cluster: &mut Cluster) {
    let deployment = workload("web", crate::objects::spec(IDLE), json!({"replicas": 3}));
    cluster.create("apps/v1/deployments", &deployment);
    let before = cluster.wait_all_running(3);
    kubectl(&["drain", "node-1", "--ignore-daemonsets", "--timeout=60s"]);
    let is_waiting = |pod: &Value| pod["spec"]["nodeName"].is_null() && pod["status"]["phase"] == "Pending";
    cluster.wait_pods("three that wait for a node", SOON, |pods| {
        pods.len() == 3 && pods.iter().all(is_waiting)
    });
    wait_for("nothing to run", SOON, || {
        let left = runtime::sandboxes()?;
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    kubectl(&["uncordon", "node-1"]);
    let after = cluster.wait_all_running(3);
    assert!(
        before
            .iter()
            .all(|old| after.iter().all(|new| uid(new) != uid(old)))
    );
    // A cordoned node keeps what it has.
    kubectl(&["cordon", "node-1"]);
    cluster.create("pods", &pod("late", IDLE));
    crate::node::stays("what runs on a cordoned node", Duration::from_secs(2), || {
        let pods = cluster.pods()?;
        let run = pods.iter().filter(|pod| crate::node::is_ready(pod)).count();
        if run == 3 {
            Ok(())
        } else {
            Err(format!("{pods:?}"))
        }
    });
    kubectl(&["uncordon", "node-1"]);
    cluster.wait_running("late");
}

/// A budget of disruptions for the pods of a workload, and how many of them have to be available.
fn budget(cluster: &Cluster, workload: &str, available: u32) {
    let object = json!({
        "metadata": {"name": workload},
        "spec": {"minAvailable": available, "selector": {"matchLabels": {"app": workload}}},
    });
    cluster.create("policy/v1/poddisruptionbudgets", &object);
    cluster.wait("policy/v1/poddisruptionbudgets", workload, "counted", |budget| {
        budget["status"]["currentHealthy"] == 1 && budget["status"]["disruptionsAllowed"] == 1 - available
    });
}

pub fn a_drain_evicts_whom_a_budget_allows_and_waits_for_the_others(cluster: &mut Cluster) {
    for name in ["allowed", "kept"] {
        let deployment = workload(name, crate::objects::spec(IDLE), json!({"replicas": 1}));
        cluster.create("apps/v1/deployments", &deployment);
    }
    cluster.wait_all_running(2);
    budget(cluster, "allowed", 0);
    budget(cluster, "kept", 1);
    let messages = tempfile::NamedTempFile::new().expect("a file for what kubectl says");
    let mut drain = Command::new(control_plane("kubectl"))
        .args([
            "--kubeconfig",
            ADMIN,
            "drain",
            "node-1",
            "--ignore-daemonsets",
            "--timeout=120s",
        ])
        .stdout(Stdio::null())
        .stderr(messages.reopen().expect("it is there"))
        .spawn()
        .expect("kubectl starts");
    wait_for("kubectl to be told of the budget", SOON, || {
        let said = std::fs::read_to_string(messages.path()).map_err(|error| error.to_string())?;
        match said.contains("would violate the pod's disruption budget") {
            true => Ok(()),
            false => Err(said),
        }
    });
    let is_of = |pod: &Value, name: &str| pod["metadata"]["labels"]["app"] == name;
    let is_waiting = |pod: &Value| pod["spec"]["nodeName"].is_null();
    let during = cluster.wait_pods("one evicted and one kept", SOON, |pods| {
        let [first, second] = pods else { return false };
        let (allowed, kept) = if is_of(first, "allowed") {
            (first, second)
        } else {
            (second, first)
        };
        is_of(allowed, "allowed") && is_waiting(allowed) && is_of(kept, "kept") && crate::node::is_ready(kept)
    });
    assert!(
        drain.try_wait().expect("it is ours").is_none(),
        "drained: {during:?}"
    );
    let path = cluster.at("policy/v1/poddisruptionbudgets", "kept");
    cluster.api.patch(&path, &json!({"spec": {"minAvailable": 0}}));
    cluster.wait_pods("both evicted", SOON, |pods| {
        pods.len() == 2 && pods.iter().all(is_waiting)
    });
    wait_for("the drain to be over", SOON, || match drain.try_wait() {
        Ok(Some(status)) if status.success() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(runtime::sandboxes().map(|left| left.len()), Ok(0));
    kubectl(&["uncordon", "node-1"]);
    cluster.wait_all_running(2);
}

pub fn a_critical_pod_takes_the_room_of_another_one(cluster: &mut Cluster) {
    let node = cluster
        .api
        .get("/api/v1/nodes/node-1")
        .expect("the node is there");
    let allocatable = node["status"]["allocatable"]["cpu"].as_str().unwrap_or_default();
    let milli: u64 = match allocatable.strip_suffix('m') {
        Some(milli) => milli.parse().expect("a number"),
        None => 1000 * allocatable.parse::<u64>().expect("a number"),
    };
    // Bound without a scheduler, which would make the room itself.
    let asks = |name: &str, milli: u64| {
        let mut object = pod(name, IDLE);
        object["spec"]["nodeName"] = json!("node-1");
        object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": format!("{milli}m")}});
        object
    };
    cluster.create("pods", &asks("large", milli * 6 / 10));
    cluster.create("pods", &asks("small", milli / 10));
    cluster.wait_all_running(2);
    let mut critical = asks("critical", milli / 2);
    critical["spec"]["priorityClassName"] = json!("system-node-critical");
    cluster.create("pods", &critical);
    cluster.wait_running("critical");
    let large = cluster.wait("pods", "large", "preempted", |pod| {
        pod["status"]["phase"] == "Failed"
    });
    assert_eq!(large["status"]["reason"], "Preempting");
    let target = crate::objects::condition(&large, "DisruptionTarget");
    assert_eq!(
        (&target["status"], &target["reason"]),
        (&json!("True"), &json!("TerminationByKubelet"))
    );
    cluster.wait_running("small");
}

pub fn a_taint_drives_out_who_does_not_tolerate_it(cluster: &mut Cluster) {
    let deployment = workload("web", crate::objects::spec(IDLE), json!({"replicas": 2}));
    cluster.create("apps/v1/deployments", &deployment);
    let mut tolerant = pod("tolerant", IDLE);
    tolerant["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    cluster.create("pods", &tolerant);
    let before = cluster.wait_all_running(3);
    kubectl(&["taint", "node", "node-1", "example.org/out=of-here:NoExecute"]);
    let is_waiting = |pod: &Value| pod["spec"]["nodeName"].is_null();
    let during = cluster.wait_pods("driven out but for one", LONG, |pods| {
        let (waiting, running): (Vec<&Value>, Vec<&Value>) = pods.iter().partition(|pod| is_waiting(pod));
        waiting.len() == 2 && running.len() == 1 && crate::node::is_ready(running[0])
    });
    let of = |pods: &[Value]| {
        pods.iter()
            .find(|pod| pod["metadata"]["name"] == "tolerant")
            .map(uid)
    };
    assert_eq!(of(&before), of(&during));
    wait_for("one container to run", SOON, || {
        let left: Vec<_> = runtime::containers()?
            .into_iter()
            .filter(|found| found.running)
            .collect();
        if left.len() == 1 {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    kubectl(&["taint", "node", "node-1", "example.org/out:NoExecute-"]);
    cluster.wait_all_running(3);
}
