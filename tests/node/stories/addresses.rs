//! The machine's network comes after the agent, and its address changes.

use std::time::Duration;

use serde_json::Value;

use crate::manifest;
use crate::node::{NEIGHBOUR_IP, NODE_IP, Node};
use crate::process::run;
use crate::wait::wait_for;

/// By the kernel's announcement, long before the agent would look by itself.
const AT_ONCE: Duration = Duration::from_secs(5);

pub fn the_nodes_address_comes_late_and_changes(node: &mut Node) {
    run(&["ip", "address", "flush", "dev", "eth0"]);
    node.start_agent();
    let reports = |kind: &str| {
        let node = node.node()?;
        let all = node["status"]["addresses"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = all.iter().find(|address| address["type"] == kind);
        Ok::<_, String>(found.map_or(Value::Null, |address| address["address"].clone()))
    };
    assert_eq!(reports("InternalIP"), Ok(Value::Null));
    let asks = "    env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]\n";
    node.manifest("asks.yaml", &(manifest::idle("asks") + asks));
    let host = manifest::idle("host").replace("spec:\n", "spec:\n  hostNetwork: true\n");
    node.manifest("host.yaml", &host);
    let host = node.wait_running("host");
    assert_eq!(
        [&host["status"]["hostIP"], &host["status"]["podIP"]],
        [&Value::Null; 2]
    );
    node.wait_pod("asks", "waiting for the node's address", |pod| {
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        waiting["reason"] == "CreateContainerConfigError"
    });

    let has = |address: &'static str| {
        wait_for("the node and its pod to have the address", AT_ONCE, || {
            let (reported, pod) = (reports("InternalIP")?, node.pod("host")?);
            let seen = [&reported, &pod["status"]["hostIP"], &pod["status"]["podIP"]];
            match seen.iter().all(|seen| *seen == address) {
                true => Ok(()),
                false => Err(format!("{seen:?}")),
            }
        });
    };
    let set = |verb: &str, address: &str| {
        run(&["ip", "address", verb, &format!("{address}/24"), "dev", "eth0"]);
    };
    set("add", NODE_IP);
    run(&["ip", "route", "add", "default", "via", NEIGHBOUR_IP]);
    has(NODE_IP);
    node.wait_running("asks");
    assert_eq!(
        node.prints(&["exec", "asks-node-1", "--", "sh", "-c", "echo $NODE"])
            .trim(),
        NODE_IP
    );

    // As a DHCP client does it.
    set("delete", NODE_IP);
    set("add", "192.0.2.77");
    run(&["ip", "route", "add", "default", "via", NEIGHBOUR_IP]);
    has("192.0.2.77");
}
