//! The events of the node.

use std::io::Write as _;

use nix::sys::stat::Mode;
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

/// The records of a kill, in the cgroup of that limit or because the machine was out of memory.
fn kill(process: &str, limit: Option<&str>) -> String {
    let limit = limit.map_or("global_oom".to_owned(), |cgroup| format!("oom_memcg={cgroup}"));
    format!(
        "4,10,1000,-;web invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0\n\
         6,11,1001,-;oom-kill:constraint=CONSTRAINT_NONE,{limit},task_memcg=/a,task={process},pid=7,uid=0\n\
         3,12,1002,-;Out of memory: Killed process 7 ({process}) total-vm:8kB, anon-rss:4kB, UID:0\n"
    )
}

#[tokio::test]
async fn a_process_that_is_killed_for_the_machines_memory_is_told_and_one_of_a_container_is_not() {
    let mut machine = Machine::new();
    machine.api = Some(crate::fake_api::FakeApi::start().await);
    nix::unistd::mkfifo(&machine.kernel_log(), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    // Open in both directions it has a writer from the beginning.
    let mut log = std::fs::File::options();
    let mut log = log.read(true).write(true).open(machine.kernel_log()).unwrap();
    machine.start().await;
    for records in [kill("in-pod", Some("/kubepods/a")), kill("stress", None)] {
        log.write_all(records.as_bytes()).unwrap();
    }
    machine
        .until("the kill is told", |machine| reported(machine, "SystemOOM") > 0)
        .await;
    log.write_all(kill("sshd", None).as_bytes()).unwrap();
    machine
        .until("the next one, too", |machine| reported(machine, "SystemOOM") == 2)
        .await;
    let events = machine.api().all("events").into_iter();
    let events = events.filter(|event| event["reason"] == "SystemOOM");
    let mut told: Vec<_> = events
        .map(|event| (event["type"].clone(), event["message"].clone()))
        .collect();
    told.sort_by_key(|(_, message)| message.to_string());
    let said = |process| {
        let message = format!("System OOM encountered, victim process: {process}, pid: 7");
        (json!("Warning"), json!(message))
    };
    assert_eq!(told, [said("sshd"), said("stress")]);
}
