//! `gantry events`: what happened, and what happens.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::manifest;
use crate::node::Node;
use crate::world::program;

pub fn events_are_shown_as_they_happen(node: &mut Node) {
    node.start_agent();
    let mut watch = Command::new(program("gantry"))
        .args(["events", "-w", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    node.manifest("web.yaml", &manifest::web("web", "hello"));
    let mut lines = BufReader::new(watch.stdout.take().expect("it is piped")).lines();
    let mut reasons = Vec::new();
    for line in lines.by_ref() {
        let event: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
        assert_eq!(event["involvedObject"]["name"], "web-node-1", "{event}");
        reasons.push(event["reason"].as_str().unwrap_or_default().to_owned());
        if reasons.last().is_some_and(|reason| reason == "Started") {
            break;
        }
    }
    assert_eq!(reasons, ["Pulled", "Created", "Started"]);

    node.manifest("broken.yaml", &manifest::shell("broken", "exit 3"));
    node.wait_pod("broken", "a back-off", |pod| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    });
    let shown = node.prints(&["events", "web"]);
    assert!(shown.starts_with("NAMESPACE   LAST SEEN"), "{shown}");
    assert!(
        shown.contains("pod/web-node-1") && !shown.contains("pod/broken-node-1"),
        "{shown}"
    );
    let warnings = node.prints(&["events", "--type", "warning"]);
    assert!(
        warnings.contains("BackOff") && !warnings.contains("Started"),
        "{warnings}"
    );
    assert_eq!(node.prints(&["events", "-n", "elsewhere"]), "No events found.\n");

    node.stop_agent();
    assert_eq!(watch.wait().expect("it ends").code(), Some(1));
    let mut said = String::new();
    let mut err = watch.stderr.take().expect("it is piped");
    err.read_to_string(&mut said).expect("text");
    assert_eq!(said, "gantry: gantry has stopped\n");
}
