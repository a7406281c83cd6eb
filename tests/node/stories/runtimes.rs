//! The same pod on every runtime that is promised.

use super::streams;
use crate::manifest;
use crate::node::{Containerd, Node, OciRuntime, Streaming, World, container, ip, wait_http};

pub const CRUN: World = World {
    containerd: Containerd::Installed,
    runtime: OciRuntime::Crun,
    streaming: Streaming::Plain,
};
pub const CONTAINERD_1_7: World = World {
    containerd: Containerd::Built("v1.7"),
    runtime: OciRuntime::Runc,
    streaming: Streaming::Plain,
};
pub const CONTAINERD_2: World = World {
    containerd: Containerd::Built("v2"),
    runtime: OciRuntime::Runc,
    streaming: Streaming::Plain,
};

pub fn crun(node: &mut Node) {
    lives_and_ends(node);
}

pub fn containerd_1_7(node: &mut Node) {
    lives_and_ends(node);
    assert!(version(node).starts_with("containerd://1.7"), "{}", version(node));
}

pub fn containerd_2(node: &mut Node) {
    lives_and_ends(node);
    assert!(version(node).starts_with("containerd://2."), "{}", version(node));
}

fn version(node: &Node) -> String {
    node.node().expect("the agent answers")["status"]["nodeInfo"]["containerRuntimeVersion"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// A pod starts, answers, restarts when it ends, has streams, survives the agent, and goes.
fn lives_and_ends(node: &mut Node) {
    node.start_agent();
    let ports = "    ports: [{containerPort: 8080, hostPort: 18080}]\n    resources: {limits: {cpu: 500m, memory: 32Mi}}\n";
    node.manifest("web.yaml", &(manifest::web("web", "hello") + ports));
    node.manifest("ends.yaml", &manifest::shell("ends", "exit 1"));
    let pod = node.wait_running("web");
    wait_http(&format!("{}:8080", ip(&pod)), "/", "hello");
    wait_http("127.0.0.1:18080", "/", "hello");
    streams::forwards();
    streams::attaches(node);
    assert_eq!(node.prints(&["exec", "web", "--", "echo", "said"]), "said\n");
    node.wait_pod("ends", "restarted", |pod| {
        container(pod, "main")["restartCount"] == 1
    });
    node.kill_agent();
    node.start_agent();
    let pod = node.wait_running("web");
    assert_eq!(container(&pod, "main")["restartCount"], 0);
    for name in ["web", "ends", "reads"] {
        node.remove(&format!("{name}.yaml"));
        node.wait_gone(name);
    }
}
