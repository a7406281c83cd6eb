//! How pods end, and what starts again.

use std::path::Path;
use std::time::Duration;

use crate::manifest;
use crate::node::{Node, SOON, container, is_ready, timed};
use crate::runtime;
use crate::wait::wait_for;

/// Where containers note what becomes of them.
const NOTES: &str = "/run/endings";

/// A pod of two sidecars with hooks that take a second and a container that takes three to end; each notes its end.
fn ordered(grace: u32) -> String {
    let ends = |name: &str, takes: u32| {
        format!(
            r#"command: [sh, -c, 'trap "sleep {takes}; echo {name} >>/notes/log; exit 0" TERM; while :; do sleep 1 & wait $!; done']
    volumeMounts: [{{name: notes, mountPath: /notes}}]"#
        )
    };
    let sidecar = |name: &str| {
        format!(
            r#"  - name: {name}
    image: gantry.local/busybox:1
    restartPolicy: Always
    lifecycle: {{preStop: {{exec: {{command: [sh, -c, "echo hook >>/notes/log; sleep 1"]}}}}}}
    {}
"#,
            ends(name, 0)
        )
    };
    format!(
        r#"apiVersion: v1
kind: Pod
metadata: {{name: ordered}}
spec:
  terminationGracePeriodSeconds: {grace}
  volumes:
  - {{name: notes, hostPath: {{path: {NOTES}, type: DirectoryOrCreate}}}}
  initContainers:
{}{}  containers:
  - name: main
    image: gantry.local/busybox:1
    {}
"#,
        sidecar("side1"),
        sidecar("side2"),
        ends("main", 3)
    )
}

fn notes() -> String {
    let notes = std::fs::read_to_string(Path::new(NOTES).join("log")).unwrap_or_default();
    notes.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub fn sidecars_end_last_and_their_hooks_come_first(node: &mut Node) {
    node.start_agent();
    let right = "hook hook main side2 side1";
    // Removed; replaced; and removed while no agent runs, so that the next one never sees the manifest.
    for how in ["removed", "replaced", "unseen"] {
        let _gone = std::fs::remove_file(Path::new(NOTES).join("log"));
        node.manifest("ordered.yaml", &ordered(20));
        node.wait_pod("ordered", "running", |pod| {
            is_ready(pod) && container(pod, "main")["state"]["running"].is_object()
        });
        match how {
            "removed" => node.remove("ordered.yaml"),
            "replaced" => node.manifest("ordered.yaml", &manifest::idle("ordered")),
            _ => {
                node.kill_agent();
                node.remove("ordered.yaml");
                node.start_agent();
            }
        }
        wait_for(
            &format!("the end of the pod that was {how}"),
            SOON,
            || match notes() {
                notes if notes == right => Ok(()),
                notes => Err(notes),
            },
        );
        if how == "replaced" {
            node.remove("ordered.yaml");
        }
        node.wait_gone("ordered");
    }

    // Nothing of it ends by itself within the grace, and the grace is one for all.
    let _gone = std::fs::remove_file(Path::new(NOTES).join("log"));
    node.manifest("ordered.yaml", &ordered(4).replace("trap ", "trap : TERM; : "));
    node.wait_running("ordered");
    node.remove("ordered.yaml");
    let ((), took) = timed(|| node.wait_gone("ordered"));
    assert!(took > Duration::from_secs(3), "it had its grace: {took:?}");
    assert!(took < Duration::from_secs(10), "one grace for all: {took:?}");
}

pub fn a_container_that_was_removed_by_hand_is_counted_on(node: &mut Node) {
    node.start_agent();
    node.manifest(
        "lost.yaml",
        &manifest::shell("lost", "echo first; exec sleep 1000000"),
    );
    let pod = node.wait_running("lost");
    let uid = pod["metadata"]["uid"].as_str().expect("a UID").to_owned();
    let logs = format!("/var/log/pods/default_lost-node-1_{uid}/main");
    let first = wait_for("its log", SOON, || {
        let log = std::fs::read_to_string(format!("{logs}/0.log")).unwrap_or_default();
        if log.contains("first") { Ok(log) } else { Err(log) }
    });
    let listed = runtime::containers().expect("containerd answers");
    let id = listed
        .iter()
        .find(|c| c.pod == "lost-node-1")
        .expect("it runs")
        .id
        .clone();
    runtime::remove_container(&id).expect("containerd removes it");
    node.wait_pod("lost", "restarted once", |pod| {
        is_ready(pod) && container(pod, "main")["restartCount"] == 1
    });
    assert!(Path::new(&format!("{logs}/1.log")).exists());
    assert_eq!(
        std::fs::read_to_string(format!("{logs}/0.log")).unwrap_or_default(),
        first
    );
    // Nobody has removed the link to the first log with its container; with the pod it goes.
    node.remove("lost.yaml");
    node.wait_gone("lost");
    wait_for("no link to be left", SOON, || {
        let entries = std::fs::read_dir("/var/log/containers").map_err(|error| error.to_string())?;
        let left: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

pub fn a_manifest_that_is_made_again_restarts_its_pod(node: &mut Node) {
    node.start_agent();
    let content = manifest::idle("again");
    node.manifest("again.yaml", &content);
    let first = node.wait_running("again");
    node.remove("again.yaml");
    std::fs::write("/etc/kubernetes/manifests/again.yaml", &content).expect("a private directory");
    let second = node.wait_pod("again", "restarted", |pod| {
        is_ready(pod) && container(pod, "main")["restartCount"] == 1
    });
    assert_eq!(first["metadata"]["uid"], second["metadata"]["uid"]);
    // Renamed into place, the same content is the same pod.
    let before = runtime::containers().expect("containerd answers");
    node.manifest("again.yaml", &content);
    node.manifest("other.yaml", &manifest::idle("other"));
    node.wait_running("other");
    let mut after = runtime::containers().expect("containerd answers");
    after.retain(|container| container.pod != "other-node-1");
    assert_eq!(before, after);
}
