//! The Node and its Lease.

use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::control_plane::{ADMIN, kubectl, wait_node_ready};
use crate::node::{LONG, NODE_IP, SOON, ip};
use crate::objects::{IDLE, condition, holds, pod, uid};
use crate::process::text;
use crate::wait::wait_for;
use crate::world::control_plane;

const NODE: &str = "/api/v1/nodes/node-1";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1";

pub fn it_registers_and_renews_its_lease(cluster: &mut Cluster) {
    let node = cluster.api.get(NODE).expect("the cluster waited for it");
    let status = &node["status"];
    for resource in ["cpu", "memory", "pods", "ephemeral-storage"] {
        assert!(status["capacity"][resource].is_string(), "{status}");
        assert!(status["allocatable"][resource].is_string(), "{status}");
    }
    assert_eq!(
        status["addresses"],
        json!([
            {"type": "InternalIP", "address": NODE_IP},
            {"type": "Hostname", "address": "node-1"},
        ])
    );
    let declared = [
        "ExtendWebSocketsToKubelet",
        "InPlacePodLevelResourcesVerticalScaling",
        "RestartAllContainersOnContainerExits",
    ];
    assert_eq!(status["declaredFeatures"], json!(declared));
    assert_eq!(condition(&node, "Ready")["reason"], "KubeletReady", "{status}");
    for pressure in ["MemoryPressure", "DiskPressure", "PIDPressure"] {
        assert_eq!(condition(&node, pressure)["status"], "False", "{status}");
    }
    let version = &status["nodeInfo"]["kubeletVersion"];
    assert!(
        version
            .as_str()
            .is_some_and(|version| version.starts_with("v1.36.")),
        "{version}"
    );
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "node-1");
    let lease = wait_lease(cluster, &node);
    let first = lease["spec"]["renewTime"].clone();
    // Every 10 s.
    cluster
        .api
        .wait(LEASE, "renewed", Duration::from_secs(15), |lease| {
            lease["spec"]["renewTime"] != first
        });
}

pub fn it_registers_again_when_it_was_deleted(cluster: &mut Cluster) {
    let first = uid(&cluster.api.get(NODE).expect("the cluster waited for it"));
    cluster.api.delete(NODE);
    let second = cluster.api.wait(NODE, "there again", SOON, |node| {
        uid(node) != first && holds(node, "Ready")
    });
    wait_node_ready(&cluster.api);
    // Else it would be collected with the former Node.
    wait_lease(cluster, &second);
}

/// Waits until the Lease belongs to this Node.
#[track_caller]
fn wait_lease(cluster: &Cluster, node: &Value) -> Value {
    let owner =
        json!([{"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": node["metadata"]["uid"]}]);
    cluster.api.wait(LEASE, "the Node's", LONG, |lease| {
        lease["spec"]["holderIdentity"] == "node-1"
            && lease["spec"]["leaseDurationSeconds"] == 40
            && lease["metadata"]["ownerReferences"] == owner
    })
}

pub fn logs_are_read_through_the_api_server_and_by_nobody_else(cluster: &mut Cluster) {
    cluster.create("pods", &pod("talks", "echo one; echo two; exec sleep 1000000"));
    cluster.wait_running("talks");
    let namespace = format!("--namespace={}", cluster.namespace);
    let logs = |more: &[&str]| kubectl(&[&["logs", namespace.as_str(), "talks"], more].concat());
    assert_eq!(logs(&[]), "one\ntwo\n");
    assert_eq!(logs(&["--tail=1"]), "two\n");
    let stamped = logs(&["--tail=1", "--timestamps"]);
    assert!(
        stamped.starts_with("20") && stamped.ends_with("Z two\n"),
        "{stamped}"
    );
    // The API server itself speaks WebSocket here; the node is asked as for any log.
    let path = format!("{}/log", cluster.at("pods", "talks"));
    for protocol in ["binary.k8s.io", "base64.binary.k8s.io"] {
        let messages = cluster.api.messages(&path, protocol, Vec::new());
        let data = messages.iter().filter(|message| !message.is_close());
        let log: Vec<u8> = data
            .flat_map(|message| match message.as_text() {
                Some(text) => STANDARD.decode(text).expect("base64"),
                None => message.as_payload().to_vec(),
            })
            .collect();
        assert_eq!(
            String::from_utf8_lossy(&log),
            "one\ntwo\n",
            "{protocol} {messages:?}"
        );
        let is_text = messages.iter().any(tokio_websockets::Message::is_text);
        assert_eq!(is_text, protocol.starts_with("base64"), "{protocol}");
    }
    let pods = kubectl(&["get", "--raw", "/api/v1/nodes/node-1/proxy/pods"]);
    assert!(pods.contains("\"talks\""), "{pods}");
    // Whoever comes without credentials.
    let refusal = cluster
        .api
        .ask_a_stranger(&format!("https://{NODE_IP}:10250"), "/pods");
    assert_eq!(refusal, 401);
}

pub fn what_a_node_shows_is_read_through_the_api_server(cluster: &mut Cluster) {
    // The role of the API server's own client lacks them, and the kubelet asks for the same.
    let role = [
        "clusterrole",
        "shows",
        "--verb=get,create",
        "--resource=nodes/statusz,nodes/checkpoint",
    ];
    kubectl(&[&["create"], &role[..]].concat());
    let user = "--user=kube-apiserver-kubelet-client";
    kubectl(&[
        "create",
        "clusterrolebinding",
        "shows",
        "--clusterrole=shows",
        user,
    ]);
    cluster.create("pods", &pod("shown", "echo listed; exec sleep 1000000"));
    cluster.wait_running("shown");
    let proxy = |path: &str| kubectl(&["get", "--raw", &format!("/api/v1/nodes/node-1/proxy/{path}")]);
    wait_for("the pod in /runningpods/", LONG, || {
        let running = proxy("runningpods/");
        match running.contains("\"name\":\"shown\"") {
            true => Ok(()),
            false => Err(running),
        }
    });
    let flags = proxy("flagz");
    assert!(
        flags.starts_with("\nkubelet flagz\n") && flags.contains("\nmax-pods="),
        "{flags}"
    );
    let status = proxy("statusz");
    assert!(status.contains("Binary version: 1.36.2+gantry."), "{status}");
    assert_eq!(proxy("healthz"), "ok");
    let checks = proxy("metrics/slis");
    let counted = "kubernetes_healthchecks_total{name=\"syncloop\",status=\"success\",type=\"healthz\"} ";
    assert!(checks.contains(counted), "{checks}");
    // The redirect to the directory's own path holds behind the API server's proxy, and so do the page's links.
    for path in ["logs/", "logs"] {
        let page = proxy(path);
        assert!(page.contains("pods/</a>\n"), "{path}: {page}");
    }
    let links = proxy("logs/containers/");
    let start = format!(">shown_{}_", cluster.namespace);
    let link = links.lines().find_map(|line| {
        let (_, name) = line.split_once('>').filter(|_| line.contains(&start))?;
        name.strip_suffix("</a>").map(str::to_owned)
    });
    let link = link.unwrap_or_else(|| panic!("no link of the pod in {links}"));
    let log = proxy(&format!("logs/containers/{link}"));
    assert!(log.ends_with(" stdout F listed\n"), "{log}");
    // Debian's containerd makes no checkpoints, and its answer is passed on.
    let url = format!(
        "/api/v1/nodes/node-1/proxy/checkpoint/{}/shown/main",
        cluster.namespace
    );
    let output = Command::new(control_plane("kubectl"))
        .args(["--kubeconfig", ADMIN, "create", "--raw", &url, "-f", "/dev/null"])
        .output()
        .expect("kubectl starts");
    let said = text(&output);
    let reason = format!(
        "checkpointing of {}/shown/main failed (rpc error: code = Unimplemented",
        cluster.namespace
    );
    assert!(!output.status.success() && said.contains(&reason), "{said}");
    kubectl(&["delete", "clusterrole/shows", "clusterrolebinding/shows"]);
}

pub fn what_happens_is_told_as_events(cluster: &mut Cluster) {
    cluster.create("pods", &pod("eventful", "exit 1"));
    wait_for("the Events", LONG, || {
        let events = cluster.api.list(&cluster.all("events"))?;
        let reported: Vec<String> = events
            .iter()
            .filter(|event| event["source"]["component"] == "kubelet")
            .map(|event| {
                format!(
                    "{} {}",
                    event["reason"].as_str().unwrap_or_default(),
                    event["count"]
                )
            })
            .collect();
        let wanted = ["Pulled 2", "Created 2", "Started 2", "BackOff 1"];
        match wanted
            .iter()
            .all(|wanted| reported.iter().any(|event| event == wanted))
        {
            true => Ok(()),
            false => Err(format!("{reported:?}")),
        }
    });
    let events = cluster
        .api
        .list("/api/v1/namespaces/default/events")
        .expect("events");
    let of_node = |reason: &str| {
        let mut all = events.iter();
        all.any(|event| event["involvedObject"]["kind"] == "Node" && event["reason"] == reason)
    };
    assert!(of_node("Starting") && of_node("NodeReady"), "{events:?}");
}

pub fn pods_are_on_the_subnet_that_the_cluster_gives(cluster: &mut Cluster) {
    let node = cluster.api.get(NODE).expect("the node is there");
    let subnet: ipnet::Ipv4Net = node["spec"]["podCIDR"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("the controller manager gives one");
    cluster.create("pods", &pod("placed", IDLE));
    let placed = cluster.wait_running("placed");
    let address: std::net::Ipv4Addr = ip(&placed).parse().expect("an address");
    assert!(subnet.contains(&address), "{address} in {subnet}");
}
