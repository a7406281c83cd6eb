//! The events of the node.

use serde_json::json;

use crate::agent::Machine;

/// How often the API server received that event of the node.
fn reported(machine: &Machine, reason: &str) -> u64 {
    let events = machine.api().all("events").into_iter();
    let of_node = events.filter(|event| event["involvedObject"]["kind"] == "Node");
    let of_reason = of_node.filter(|event| event["reason"] == reason);
    of_reason.map(|event| event["count"].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn a_start_of_the_machine_is_told_and_an_agents_is_not() {
    let mut machine = Machine::joined().await;
    let boot = |machine: &Machine| {
        let node = machine.api().get("nodes", "node").unwrap_or_default();
        node["status"]["nodeInfo"]["bootID"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    machine
        .until("it is registered", |machine| boot(machine) == "first")
        .await;
    machine.kill().await;
    machine.start().await;
    machine
        .until("it is told that the agent begins again", |machine| {
            reported(machine, "Starting") == 2
        })
        .await;
    machine.kill().await;
    machine.boot = "second".to_owned();
    machine.start().await;
    machine
        .until("the machine's start is told", |machine| {
            reported(machine, "Rebooted") == 1 && boot(machine) == "second"
        })
        .await;
    let events = machine.api().all("events");
    let event = events.iter().find(|event| event["reason"] == "Rebooted").unwrap();
    assert_eq!(event["message"], "Node node has been rebooted, boot id: second");
    assert_eq!(event["type"], "Warning");
    machine.api().mark_node(json!({"spec": {"unschedulable": true}}));
    machine
        .until("the cordon is told", |machine| {
            reported(machine, "NodeNotSchedulable") == 1
        })
        .await;
    assert_eq!(
        (
            reported(&machine, "Rebooted"),
            reported(&machine, "NodeSchedulable")
        ),
        (1, 0)
    );
}
