//! `gantry timeline`: what a start and an end were made of.

use serde_json::Value;

use crate::manifest;
use crate::node::{Node, SOON};
use crate::process::text;
use crate::wait::wait_for;

pub fn the_steps_of_a_start_and_an_end_are_drawn(node: &mut Node) {
    node.start_agent();
    node.manifest("idle.yaml", &manifest::idle("idle"));
    node.wait_running("idle");
    wait_for("the pod to be ready in its timeline", SOON, || {
        let spans = spans(node)?;
        let names: Vec<&str> = spans.iter().filter_map(|span| span["name"].as_str()).collect();
        let wanted = ["run sandbox", "create container", "start container", "ready"];
        let found: Vec<&str> = names
            .iter()
            .filter(|name| wanted.contains(name))
            .copied()
            .collect();
        if found == wanted {
            Ok(())
        } else {
            Err(format!("{names:?}"))
        }
    });
    let sandbox = spans(node).expect("it is recorded");
    let sandbox = sandbox
        .iter()
        .find(|span| span["name"] == "run sandbox")
        .expect("it was made");
    assert_ne!(sandbox["start"], sandbox["end"], "it takes time: {sandbox}");
    let picture = node.prints(&["timeline", "idle"]);
    let line = picture.lines().find(|line| line.contains("start container main"));
    assert!(line.is_some_and(|line| line.contains('=')), "{picture}");
    assert!(
        picture.lines().all(|line| line.chars().count() <= 80),
        "{picture}"
    );

    node.remove("idle.yaml");
    wait_for("the end of the pod in its timeline", SOON, || {
        let picture = text(&node.gantry(&["timeline", "idle"]));
        let is_whole = ["stop container main", "stop sandbox", "remove sandbox"]
            .iter()
            .all(|step| picture.contains(step));
        if is_whole { Ok(()) } else { Err(picture) }
    });
}

fn spans(node: &Node) -> Result<Vec<Value>, String> {
    let output = node.gantry(&["timeline", "idle", "-o", "json"]);
    let shown = text(&output);
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {shown}"))
}
