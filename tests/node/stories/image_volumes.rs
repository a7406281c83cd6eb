//! Volumes that are images: mounted by a runtime that can, and an error by one that cannot.

use serde_json::Value;

use crate::manifest;
use crate::node::{Node, SOON, container};
use crate::wait::wait_for;

const IMAGE: &str = "gantry.local/busybox:1";

fn pod(name: &str, script: &str) -> String {
    let mounts = "    volumeMounts:\n    - {name: tools, mountPath: /tools}\n    - {name: tools, mountPath: /bins, subPath: bin}\n";
    let volumes =
        format!("  volumes:\n  - name: tools\n    image: {{reference: '{IMAGE}', pullPolicy: Never}}\n");
    manifest::with(name, script, mounts) + &volumes
}

fn waiting(pod: &Value) -> &Value {
    &container(pod, "main")["state"]["waiting"]
}

/// containerd 1.6 does not know the field, and looks for the directory of a mount without one.
pub fn a_runtime_without_them_says_so(node: &mut Node) {
    node.start_agent();
    node.manifest("tools.yaml", &pod("tools", "sleep 1000000"));
    let pod = node.wait_pod("tools", "refused", |pod| {
        waiting(pod)["reason"] == "CreateContainerError"
    });
    let message = waiting(&pod)["message"].as_str().unwrap_or_default();
    assert!(message.contains("failed to mkdir \"\""), "{message}");
    node.remove("tools.yaml");
    node.wait_gone("tools");
}

pub fn the_files_of_an_image_are_read_only(node: &mut Node) {
    node.start_agent();
    let script =
        "cmp /tools/bin/sh /bin/sh && cmp /bins/sh /bin/sh && ! touch /tools/new && echo seen; sleep 1000000";
    node.manifest("tools.yaml", &pod("tools", script));
    node.wait_running("tools");
    wait_for("what the container has seen", SOON, || {
        let said = node.prints(&["logs", "tools"]);
        if said.contains("seen") { Ok(()) } else { Err(said) }
    });
    node.remove("tools.yaml");
    node.wait_gone("tools");
}
