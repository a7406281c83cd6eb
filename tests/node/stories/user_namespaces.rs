//! Pods with user namespaces, on a runtime that has none.

use crate::manifest;
use crate::node::{Node, SOON};
use crate::wait::wait_for;

pub fn a_runtime_without_them_says_so(node: &mut Node) {
    node.start_agent();
    let pod = manifest::shell("alone", "sleep 1000000") + "  hostUsers: false\n";
    node.manifest("alone.yaml", &pod);
    let message = "Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support user namespaces";
    wait_for("the event about the user namespace", SOON, || {
        // There is no pod of that name at first.
        let shown = node.gantry(&["events", "alone"]);
        let events = String::from_utf8_lossy(&shown.stdout).into_owned();
        if events.contains(message) {
            Ok(())
        } else {
            Err(events)
        }
    });
    node.remove("alone.yaml");
    node.wait_gone("alone");
}
