//! The kubelet's static pods taken over, and given back: nothing restarts for it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kubelet::Kubelet;
use crate::manifest;
use crate::node::{Node, SOON, container, ip, is_ready, wait_http};
use crate::runtime::{self, Sandbox};
use crate::runtime_state::RuntimeState;
use crate::wait::wait_for;

pub fn static_pods_go_from_the_kubelet_to_gantry_and_back(node: &mut Node) {
    // The pod network and the images come from gantry, so it was here before.
    node.start_agent();
    wait_imported(node);
    node.stop_agent();
    write_manifests(node);

    let kubelet = Kubelet::start(&[]);
    let by_kubelet = wait_settled("the kubelet", || kubelet.pods());
    let address = format!("{}:8080", ip(&by_kubelet["web-node-1"]));
    wait_http(&address, "/", "all the while");
    let before = RuntimeState::at_rest(&["done-node-1"]);
    kubelet.stop();

    // The successor sees what changed while no agent ran.
    node.remove("leaves.yaml");
    node.start_agent();
    node.wait_gone("leaves");
    let by_gantry = wait_settled("gantry", || node.pods());
    let before = before.without("leaves");
    before.stays("with gantry in the kubelet's place");
    wait_http(&address, "/", "all the while");
    assert_same_statuses(&by_kubelet, &by_gantry);
    node.prints(&[
        "exec",
        "shared-node-1",
        "-c",
        "reads",
        "--",
        "test",
        "-s",
        "/data/page",
    ]);
    node.stop_agent();

    let kubelet = Kubelet::start(&[]);
    let again = wait_settled("the kubelet again", || kubelet.pods());
    before.stays("with the kubelet again");
    wait_http(&address, "/", "all the while");
    assert_same_statuses(&by_gantry, &again);
    // The successor of both still rules what it found.
    node.remove("web.yaml");
    wait_for("the web server to be stopped", SOON, || {
        let sandboxes = runtime::sandboxes()?;
        let is_web = |sandbox: &&Sandbox| sandbox.pod == "web-node-1" && sandbox.ready;
        match sandboxes.iter().find(is_web) {
            Some(sandbox) => Err(format!("{sandbox:?}")),
            None => Ok(()),
        }
    });
    kubelet.stop();
}

/// Waits until the image of the pods is there.
fn wait_imported(node: &Node) {
    wait_for("the images to be imported", SOON, || {
        let images = node.node()?["status"]["images"].to_string();
        if images.contains("gantry.local/busybox:1") {
            Ok(())
        } else {
            Err(images)
        }
    });
}

/// One pod of each kind whose memory lies in other places.
fn write_manifests(node: &Node) {
    let probed = "    ports: [{containerPort: 8080, hostPort: 18080}]
    resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 500m, memory: 32Mi}}
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
    livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
    env: [{name: ME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    lifecycle: {preStop: {exec: {command: ['true']}}}
";
    node.manifest("web.yaml", &(manifest::web("web", "all the while") + probed));
    node.manifest("leaves.yaml", &manifest::idle("leaves"));
    node.manifest("shared.yaml", SHARED);
    // Its first container's end is in the memory of the runtime alone.
    let once = "test -e /data/was || { touch /data/was; exit 3; }; exec sleep 1000000";
    let data =
        "    volumeMounts: [{name: data, mountPath: /data}]\n  volumes: [{name: data, emptyDir: {}}]\n";
    node.manifest("once.yaml", &manifest::with("once", once, data));
    node.manifest(
        "done.yaml",
        &(manifest::shell("done", "exit 0") + "  restartPolicy: Never\n"),
    );
    node.manifest("host.yaml", &(manifest::idle("host") + "  hostNetwork: true\n"));
}

const SHARED: &str = r#"apiVersion: v1
kind: Pod
metadata:
  name: shared
  labels: {app: shared}
  annotations: {example.org/note: kept}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 1000}
  initContainers:
  - name: makes
    image: gantry.local/busybox:1
    command: [sh, -c, echo made >/data/page]
    volumeMounts: [{name: data, mountPath: /data}]
  - name: beside
    image: gantry.local/busybox:1
    restartPolicy: Always
    command: [sleep, '1000000']
  containers:
  - name: reads
    image: gantry.local/busybox:1
    command: [sleep, '1000000']
    securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true}
    volumeMounts: [{name: data, mountPath: /data, readOnly: true}]
  - name: idles
    image: gantry.local/busybox:1
    command: [sleep, '1000000']
  volumes:
  - name: data
    emptyDir: {medium: Memory, sizeLimit: 1Mi}
"#;

/// Waits until each pod is reported as at rest.
#[track_caller]
fn wait_settled(who: &str, pods: impl Fn() -> Result<Vec<Value>, String>) -> BTreeMap<String, Value> {
    wait_for(
        &format!("{who} to report all pods at rest"),
        Duration::from_secs(60),
        || {
            let pods = pods()?;
            let rests = |pod: &&Value| match pod["metadata"]["name"].as_str() {
                Some("done-node-1") => pod["status"]["phase"] == "Succeeded",
                Some("once-node-1") => is_ready(pod) && container(pod, "main")["restartCount"] == 1,
                _ => is_ready(pod),
            };
            let restless: Vec<_> = pods
                .iter()
                .filter(|pod| !rests(pod))
                .map(|pod| format!("{}: {}", pod["metadata"]["name"], pod["status"]))
                .collect();
            if pods.len() < 5 || !restless.is_empty() {
                return Err(format!("{} pods, not at rest {restless:?}", pods.len()));
            }
            let named = |pod: Value| {
                (
                    pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
                    pod,
                )
            };
            Ok(pods.into_iter().map(named).collect())
        },
    )
}

/// What both report about a pod that is at rest. The predecessor may know more pods.
#[track_caller]
fn assert_same_statuses(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) {
    for (name, pod) in after {
        assert_eq!(reported(&before[name]), reported(pod), "{name}");
    }
}

fn reported(pod: &Value) -> Value {
    let status = &pod["status"];
    let containers = ["initContainerStatuses", "containerStatuses"]
        .map(|key| status[key].as_array().cloned().unwrap_or_default())
        .concat();
    // The runtime forgets the address of a sandbox that has ended, and no other agent was running meanwhile. The
    // kubelet does not report the node's own address without an API server.
    let is_compared = status["phase"] == "Running" && pod["spec"]["hostNetwork"] != true;
    let ip = if is_compared {
        &status["podIP"]
    } else {
        &Value::Null
    };
    let of = |status: &Value| {
        json!([
            status["name"],
            status["containerID"],
            status["restartCount"],
            status["ready"],
            status["started"],
            status["state"],
            status["lastState"],
        ])
    };
    json!({
        "uid": pod["metadata"]["uid"],
        "phase": status["phase"],
        "podIP": ip,
        "qosClass": status["qosClass"],
        "containers": containers.iter().map(of).collect::<Vec<_>>(),
    })
}
