//! The machine shuts down: pods have their time, in the order of their priorities, and those of manifests come back.

use std::time::Duration;

use gantry::model::shutdown::{ShutdownGroup, ShutdownPeriods};
use k8s_cri::v1::ContainerState::ContainerRunning;
use serde_json::{Value, json};

use crate::agent::{Machine, condition, is_ready, manifest, phase, restarts, simple};
use crate::fake_logind::FakeLogind;

const CRITICAL: i32 = 2_000_000_000;

/// A machine that gives normal and critical pods so many seconds.
async fn machine(is_member: bool, normal: u64, critical: u64) -> (Machine, FakeLogind) {
    let mut machine = Machine::new();
    let logind = FakeLogind::new(&machine.at.root.path().join("logind.conf.d"));
    machine.logind = Some(logind.clone());
    machine.shutdown = ShutdownPeriods::new([(0, normal), (CRITICAL, critical)].map(
        |(priority, seconds)| ShutdownGroup {
            priority,
            period: Duration::from_secs(seconds),
        },
    ));
    if is_member {
        machine.api = Some(crate::fake_api::FakeApi::start().await);
    }
    machine.start().await;
    machine
        .becomes("a subscriber to events", |fake| fake.has_subscriber())
        .await;
    machine.until("an inhibitor", |_| logind.inhibitors() == 1).await;
    (machine, logind)
}

fn critical(pod: &str) -> String {
    manifest(
        pod,
        "priorityClassName: system-node-critical",
        &["name: k, image: demo:1"],
    )
}

/// The names of the containers that run.
fn running(machine: &Machine) -> Vec<String> {
    let world = machine.fake.world();
    let running = world.containers.values().filter(|c| c.state == ContainerRunning);
    let mut names: Vec<_> = running
        .map(|c| c.config.metadata.as_ref().unwrap().name.clone())
        .collect();
    names.sort();
    names
}

fn progress(machine: &Machine) -> String {
    machine
        .shutdown_progress()
        .map_or(String::new(), |progress| progress.at(progress.since).to_string())
}

async fn has_progress(machine: &Machine, begins: &str) {
    machine
        .until(begins, |machine| progress(machine).starts_with(begins))
        .await;
}

fn node_ready(machine: &Machine) -> (String, String) {
    let node = machine.api().get("nodes", "node").unwrap_or_default();
    let conditions = node["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let ready = conditions
        .into_iter()
        .find(|condition| condition["type"] == "Ready");
    let text = |key: &str| {
        let ready = ready.as_ref();
        ready
            .and_then(|ready| ready[key].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    (text("reason"), text("message"))
}

fn node_events(machine: &Machine) -> Vec<String> {
    let events = machine.api().all("events").into_iter();
    let of_shutdown =
        events.filter(|event| event["reason"] == "NodeShutdown" && event["involvedObject"]["kind"] == "Node");
    of_shutdown
        .map(|event| event["message"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn api_phase(machine: &Machine, pod: &str) -> String {
    let pod = machine.api().get("pods", pod).unwrap_or_default();
    pod["status"]["phase"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn pods_end_by_priority_with_the_kubelets_status_and_then_the_machine_may_go_down() {
    let (machine, logind) = machine(true, 20, 10).await;
    machine.api().bind("web", "u1", "demo:1");
    machine.write("net.yaml", &critical("net"));
    machine.running("net").await;
    machine
        .until("web runs", |machine| api_phase(machine, "web") == "Running")
        .await;
    machine.fake.hold("StopContainer");
    logind.announce(true).await;
    let not_ready = ("KubeletNotReady".to_owned(), "node is shutting down".to_owned());
    machine
        .until("the node is not ready", |machine| {
            node_ready(machine) == not_ready
        })
        .await;
    machine.called("StopContainer", 1).await;
    has_progress(&machine, "Shutting down: 0 of 2 pods have ended, ").await;
    assert_eq!(running(&machine), ["c", "k"]);
    // Its end is on disk before it is stopped.
    let checkpoint = std::fs::read_to_string(machine.at.pods().join("u1/gantry-pod.json")).unwrap();
    let checkpoint: Value = serde_json::from_str(&checkpoint).unwrap();
    assert_eq!(checkpoint["ended"], json!({"why": "shutdown"}));
    // What comes now is not taken.
    machine.api().bind("late", "u2", "demo:1");
    machine
        .until("late is rejected", |machine| {
            api_phase(machine, "late") == "Failed"
        })
        .await;
    let late = machine.api().get("pods", "late").unwrap();
    assert_eq!(
        (&late["status"]["reason"], &late["status"]["message"]),
        (
            &json!("NodeShutdown"),
            &json!("Pod was rejected: Pod was rejected as the node is shutting down.")
        )
    );
    assert_eq!(logind.inhibitors(), 1);
    machine.fake.release("StopContainer");
    machine
        .until("web has ended", |machine| api_phase(machine, "web") == "Failed")
        .await;
    let web = machine.api().get("pods", "web").unwrap();
    let said = "Pod was terminated in response to imminent node shutdown.";
    assert_eq!(
        (&web["status"]["reason"], &web["status"]["message"]),
        (&json!("Terminated"), &json!(said))
    );
    let conditions = web["status"]["conditions"].as_array().unwrap();
    let target = conditions
        .iter()
        .find(|condition| condition["type"] == "DisruptionTarget");
    let target = target.expect("the condition is published");
    assert_eq!(
        (&target["status"], &target["reason"], &target["message"]),
        (&json!("True"), &json!("TerminationByKubelet"), &json!(said))
    );
    machine.until("no inhibitor", |_| logind.inhibitors() == 0).await;
    assert_eq!(progress(&machine), "Shutting down: 2 of 2 pods have ended");
    assert_eq!(running(&machine), [""; 0]);
    // The demo's grace is 30 s, cut to the groups'.
    let graces = machine.fake.world().graces.clone();
    let is_cut = matches!(graces[..], [11..=20, 1..=10]);
    assert!(is_cut, "{graces:?}");
    assert_eq!(
        node_events(&machine),
        ["Shutdown manager detected shutdown event"]
    );
    let began = machine.counted("kubelet_graceful_shutdown_start_time_seconds", &[]);
    let ended = machine.counted("kubelet_graceful_shutdown_end_time_seconds", &[]);
    assert!(began > 0.0 && ended >= began, "{began} {ended}");
    // Nothing is started any more.
    machine.write("new.yaml", &simple("new"));
    machine
        .pod_told("new", "rejected", |pod| phase(pod) == "Failed")
        .await;
    assert_eq!(machine.fake.count("RunPodSandbox"), 2);
}

#[tokio::test]
async fn after_the_reboot_static_pods_run_whatever_their_restart_policy_and_api_pods_stay_ended() {
    let (mut machine, logind) = machine(true, 20, 10).await;
    machine.api().bind("web", "u1", "demo:1");
    machine.write("net.yaml", &critical("net"));
    let once = manifest("once", "restartPolicy: Never", &["name: o, image: demo:1"]);
    machine.write("once.yaml", &once);
    machine.running("net").await;
    machine.running("once").await;
    machine
        .until("web runs", |machine| api_phase(machine, "web") == "Running")
        .await;
    logind.announce(true).await;
    machine.until("no inhibitor", |_| logind.inhibitors() == 0).await;
    machine
        .until("all ends are published", |machine| {
            ["web", "net-node", "once-node"]
                .iter()
                .all(|pod| api_phase(machine, pod) == "Failed")
        })
        .await;
    machine.kill().await;
    machine.boot = "second".to_owned();
    machine.logind = Some(FakeLogind::new(&logind.drop_ins()));
    machine.start().await;
    let net = machine.running("net").await;
    machine.running("once").await;
    assert_eq!(restarts(&net, "k"), 1);
    machine
        .until("the mirror pods run", |machine| {
            ["net-node", "once-node"]
                .iter()
                .all(|pod| api_phase(machine, pod) == "Running")
        })
        .await;
    assert_eq!(api_phase(&machine, "web"), "Failed");
    assert_eq!(running(&machine), ["k", "o"]);
    // The metrics say how long the shutdown took.
    assert!(machine.counted("kubelet_graceful_shutdown_end_time_seconds", &[]) > 0.0);
}

#[tokio::test]
async fn a_shutdown_that_fails_leaves_a_node_that_is_ready_and_runs_its_static_pods() {
    let (machine, logind) = machine(true, 20, 10).await;
    machine.api().bind("web", "u1", "demo:1");
    machine.write("demo.yaml", &simple("demo"));
    machine.write("net.yaml", &critical("net"));
    machine.running("demo").await;
    machine.running("net").await;
    machine
        .until("web runs", |machine| api_phase(machine, "web") == "Running")
        .await;
    // The static pod is still being stopped when the shutdown fails, and the critical one has not been asked to end.
    machine.fake.hold("StopContainer");
    logind.announce(true).await;
    machine.called("StopContainer", 2).await;
    machine
        .until("the node is not ready", |machine| {
            node_ready(machine).0 == "KubeletNotReady"
        })
        .await;
    logind.announce(false).await;
    machine
        .until("the node is ready", |machine| {
            node_ready(machine).0 == "KubeletReady"
        })
        .await;
    machine.until("one inhibitor", |_| logind.inhibitors() == 1).await;
    machine
        .until("no progress", |machine| machine.shutdown_progress().is_none())
        .await;
    machine.fake.release("StopContainer");
    machine
        .pod_told("demo", "started again", |pod| {
            is_ready(pod) && restarts(pod, "c") == 1
        })
        .await;
    machine
        .until("web stays ended", |machine| api_phase(machine, "web") == "Failed")
        .await;
    let net = machine.running("net").await;
    assert_eq!((restarts(&net, "k"), condition(&net, "Ready")), (0, "True"));
    // The demo's mirror pod follows.
    machine
        .until("demo's mirror pod runs", |machine| {
            api_phase(machine, "demo-node") == "Running"
        })
        .await;
    let said = [
        "Shutdown manager detected shutdown event",
        "Shutdown manager detected shutdown cancellation",
    ];
    machine
        .until("both are told", |machine| {
            let mut events = node_events(machine);
            events.sort();
            let mut said = said;
            said.sort_unstable();
            events == said
        })
        .await;
    // The next one begins from the beginning.
    logind.announce(true).await;
    machine.until("no inhibitor", |_| logind.inhibitors() == 0).await;
    assert_eq!(running(&machine), [""; 0]);
}

#[tokio::test]
async fn a_pod_that_does_not_end_holds_the_machine_up_for_its_groups_time_alone() {
    let (machine, logind) = machine(false, 1, 1).await;
    machine.write("web.yaml", &simple("web"));
    machine.running("web").await;
    machine.fake.hold("StopContainer");
    logind.announce(true).await;
    machine.until("no inhibitor", |_| logind.inhibitors() == 0).await;
    assert_eq!(progress(&machine), "Shutting down: 0 of 1 pod has ended");
    machine.fake.release("StopContainer");
}

#[tokio::test]
async fn an_agent_that_is_killed_during_a_shutdown_goes_on_with_it_and_starts_nothing() {
    let (mut machine, logind) = machine(false, 20, 10).await;
    machine.write("web.yaml", &simple("web"));
    machine.write("net.yaml", &critical("net"));
    machine.running("web").await;
    machine.running("net").await;
    machine.fake.hold("StopContainer");
    logind.announce(true).await;
    machine.called("StopContainer", 1).await;
    machine.kill().await;
    machine.fake.release("StopContainer");
    assert_eq!(logind.inhibitors(), 0);
    machine.start().await;
    has_progress(&machine, "Shutting down: 2 of 2 pods have ended").await;
    assert_eq!(running(&machine), [""; 0]);
    assert_eq!(machine.fake.count("RunPodSandbox"), 2);
    // The machine does not go down after all.
    logind.announce(false).await;
    machine.running("web").await;
    machine.running("net").await;
    machine.until("an inhibitor", |_| logind.inhibitors() == 1).await;
}

#[tokio::test]
async fn logind_is_told_to_allow_the_time_and_is_found_again_when_it_was_away() {
    let (machine, logind) = machine(false, 20, 10).await;
    let drop_in = logind.drop_ins().join("99-kubelet.conf");
    machine.until("a drop-in", |_| drop_in.is_file()).await;
    let text = std::fs::read_to_string(&drop_in).unwrap();
    assert!(text.ends_with("[Login]\nInhibitDelayMaxSec=30\n"), "{text}");
    machine.write("web.yaml", &simple("web"));
    machine.running("web").await;
    logind.goes(true).await;
    // What was announced in between is not missed.
    logind.announce(true).await;
    has_progress(&machine, "Shutting down: 1 of 1 pod has ended").await;
    logind.announce(false).await;
    machine.running("web").await;
    machine.until("an inhibitor", |_| logind.inhibitors() == 1).await;
}

#[tokio::test]
async fn without_logind_pods_run_all_the_same_and_it_is_used_when_it_comes() {
    let mut machine = Machine::new();
    let logind = FakeLogind::new(&machine.at.root.path().join("logind.conf.d"));
    logind.ignores_drop_ins();
    logind.goes(false).await;
    machine.logind = Some(logind.clone());
    machine.shutdown = ShutdownPeriods::new([ShutdownGroup {
        priority: 0,
        period: Duration::from_secs(20),
    }]);
    machine.start().await;
    machine.write("web.yaml", &simple("web"));
    machine.running("web").await;
    logind.goes(true).await;
    machine.until("an inhibitor", |_| logind.inhibitors() == 1).await;
}
