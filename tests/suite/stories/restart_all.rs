//! The end of a container restarts all containers of its pod.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::agent::{Machine, condition, container, is_ready, manifest, phase, restarts, state};

const RULE: &str = "[{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]";

/// The id of the newest container of that name.
fn id(machine: &Machine, container: &str) -> String {
    machine.fake.world().container(container).unwrap().0.clone()
}

/// A pod that never restarts a container by its policy: an init container, a sidecar, and two containers, of which the
/// end of `a` with 42 restarts all.
async fn run(machine: &Machine) -> Arc<Pod> {
    let hook = "lifecycle: {preStop: {exec: {command: [never]}}}";
    let spec = "restartPolicy: Never\n  initContainers: [{name: i, image: demo:1}, {name: s, image: demo:1, \
                restartPolicy: Always}]";
    let a = format!("name: a, image: demo:1, restartPolicy: Never, restartPolicyRules: {RULE}");
    let b = format!("name: b, image: demo:1, {hook}");
    machine.write("web.yaml", &manifest("web", spec, &[&a, &b]));
    machine.runs_again("i", 0).await;
    machine.fake.exit(&id(machine, "i"), 0);
    machine.running("web").await
}

fn last(pod: &Pod, of: &str) -> String {
    let last = container(pod, of).and_then(|status| status.last_state.as_ref()?.terminated.clone());
    last.map_or(String::new(), |last| {
        format!("{} {}", last.reason.unwrap_or_default(), last.exit_code)
    })
}

#[tokio::test]
async fn all_containers_are_restarted_in_the_same_sandbox_also_by_the_next_agent() {
    let mut machine = Machine::started().await;
    let before = run(&machine).await;
    assert_eq!(condition(&before, "AllContainersRestarting"), "False");
    machine.fake.hold("StopContainer");
    machine.fake.exit(&id(&machine, "a"), 42);
    let begun = machine
        .pod_told("web", "about to restart all containers", |pod| {
            condition(pod, "AllContainersRestarting") == "True"
        })
        .await;
    assert_eq!(state(&begun, "a"), "Terminated: Error 42");
    assert_eq!(phase(&begun), "Running");
    machine.called("StopContainer", 1).await;
    let (message, _) = machine.event("Killing").await;
    assert_eq!(message, "killing");
    machine.kill().await;
    machine.fake.release("StopContainer");
    machine.start().await;
    machine.runs_again("i", 1).await;
    let starting = machine.pod("web").unwrap();
    assert_eq!(condition(&starting, "AllContainersRestarting"), "False");
    machine.fake.exit(&id(&machine, "i"), 0);
    let after = machine.running("web").await;
    for name in ["i", "s", "a", "b"] {
        assert_eq!(restarts(&after, name), 1, "{name}");
    }
    let status = |pod: &Pod| pod.status.clone().unwrap();
    assert_eq!(status(&after).pod_ip, status(&before).pod_ip);
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(machine.fake.count("RunPodSandbox"), 1);
    assert_eq!(machine.fake.count("StopPodSandbox"), 0);
    // There is no time for a hook.
    assert_eq!(machine.fake.count("ExecSync"), 0);
    let running = machine.fake.world().containers.len();
    assert_eq!(running, 4, "nothing else is left");
}

#[tokio::test]
async fn what_was_removed_is_reported_as_ended_by_the_restart() {
    let machine = Machine::started().await;
    run(&machine).await;
    machine.fake.hold("CreateContainer");
    machine.fake.exit(&id(&machine, "a"), 42);
    let gone = machine
        .pod_told("web", "without containers", |pod| {
            ["a", "b", "s"]
                .iter()
                .all(|name| state(pod, name).starts_with("Waiting"))
                && condition(pod, "AllContainersRestarting") == "False"
        })
        .await;
    assert_eq!(
        (phase(&gone), condition(&gone, "Initialized")),
        ("Running", "True")
    );
    machine.fake.release("CreateContainer");
    machine.runs_again("i", 1).await;
    machine.fake.exit(&id(&machine, "i"), 0);
    let after = machine.pod_told("web", "running", is_ready).await;
    for name in ["s", "b"] {
        assert_eq!(last(&after, name), "RestartingAllContainers 137", "{name}");
    }
    // Once more: it is not held up, and counted on.
    machine.fake.exit(&id(&machine, "a"), 42);
    machine.runs_again("i", 2).await;
}

#[tokio::test]
async fn another_exit_code_ends_the_container_as_its_policy_says() {
    let machine = Machine::started().await;
    run(&machine).await;
    machine.fake.exit(&id(&machine, "a"), 41);
    machine
        .pod_told("web", "a ended", |pod| state(pod, "a") == "Terminated: Error 41")
        .await;
    machine.fake.exit(&id(&machine, "b"), 0);
    let failed = machine
        .pod_told("web", "failed", |pod| phase(pod) == "Failed")
        .await;
    assert_eq!(restarts(&failed, "b"), 0);
    assert_eq!(condition(&failed, "AllContainersRestarting"), "False");
}
