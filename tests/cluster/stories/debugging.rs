//! Containers that a user adds to a running pod.

use serde_json::json;

use crate::cluster::Cluster;
use crate::control_plane::kubectl;
use crate::node::{LONG, container, is_ready};
use crate::objects::{pod, web};
use crate::wait::wait_for;

pub fn a_container_is_added_to_a_pod_that_runs(cluster: &mut Cluster) {
    cluster.create("pods", &pod("web", &web("hello")));
    let before = cluster.wait_running("web");
    let namespace = format!("--namespace={}", cluster.namespace);
    kubectl(&[
        "debug",
        "pod/web",
        "--container=look",
        "--target=main",
        "--image=gantry.local/busybox:1",
        &namespace,
        "--",
        "sh",
        "-c",
        "tr '\\0' ' ' </proc/1/cmdline; exit 3",
    ]);
    let after = cluster.wait("pods", "web", "looked into", |pod| {
        container(pod, "look")["state"]["terminated"]["exitCode"] == 3
    });
    // It saw the processes of its target, which knows nothing of it.
    let seen = kubectl(&["logs", "web", "--container=look", &namespace]);
    assert!(seen.starts_with("httpd -f"), "{seen}");
    assert_eq!(container(&after, "main"), container(&before, "main"));
    assert!(is_ready(&after), "{}", after["status"]);
    wait_for("its event", LONG, || {
        let events = cluster.api.list(&cluster.all("events"))?;
        let is_its = |event: &serde_json::Value| {
            event["involvedObject"]["fieldPath"] == "spec.ephemeralContainers{look}"
                && event["reason"] == json!("Started")
        };
        match events.iter().any(is_its) {
            true => Ok(()),
            false => Err(format!("{events:?}")),
        }
    });
}
