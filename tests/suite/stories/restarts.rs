//! Containers that end, and what their restart policy makes of it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use crate::agent::{Machine, condition, container, is_ready, manifest, message, phase, restarts, state};

/// The id of the newest container of that name.
fn id(machine: &Machine, container: &str) -> String {
    machine.fake.world().container(container).unwrap().0.clone()
}

#[tokio::test]
async fn a_container_that_ends_is_restarted_with_growing_back_off() {
    let machine = Machine::started().await;
    machine.write(
        "web.yaml",
        &manifest("web", "", &["name: a, image: demo:1", "name: b, image: demo:1"]),
    );
    let uid = machine.running("web").await.metadata.uid.clone().unwrap();
    machine.fake.exit(&id(&machine, "a"), 1);
    machine.runs_again("a", 1).await;
    // The kubelet shows the back-off when it is nearly over.
    machine
        .fake
        .exited_before(&id(&machine, "a"), 1, Duration::from_secs(8));
    let waits = machine
        .pod_told("web", "a waits", |pod| {
            state(pod, "a") == "Waiting: CrashLoopBackOff"
        })
        .await;
    let text = |container, delay| {
        format!("back-off {delay} restarting failed container={container} pod=web-node_default({uid})")
    };
    assert_eq!(message(&waits, "a"), text("a", "10s"));
    let last = container(&waits, "a")
        .unwrap()
        .last_state
        .clone()
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (1, Some("Error")));
    assert_eq!(
        (restarts(&waits, "a"), phase(&waits), condition(&waits, "Ready")),
        (1, "Running", "False")
    );
    assert_eq!(
        (state(&waits, "b").as_str(), restarts(&waits, "b")),
        ("running", 0)
    );

    // The delays are over even if an exit is reported late.
    machine.fake.exit(&id(&machine, "b"), 1);
    machine.runs_again("b", 1).await;
    machine
        .fake
        .exited_before(&id(&machine, "b"), 1, Duration::from_secs(10));
    machine.runs_again("b", 2).await;
    machine
        .fake
        .exited_before(&id(&machine, "b"), 1, Duration::from_secs(20));
    machine.runs_again("b", 3).await;
    machine
        .fake
        .exited_before(&id(&machine, "b"), 1, Duration::from_secs(35));
    let waits = machine
        .pod_told("web", "b waits", |pod| {
            state(pod, "b") == "Waiting: CrashLoopBackOff"
        })
        .await;
    assert_eq!(
        (message(&waits, "b"), restarts(&waits, "b")),
        (text("b", "40s"), 3)
    );
    assert_eq!(machine.fake.count("RunPodSandbox"), 1);
}

#[tokio::test]
async fn on_failure_restarts_only_what_failed_and_then_the_pod_has_succeeded() {
    let machine = Machine::started().await;
    let containers = ["name: good, image: demo:1", "name: bad, image: demo:1"];
    machine.write(
        "web.yaml",
        &manifest("web", "restartPolicy: OnFailure", &containers),
    );
    machine.running("web").await;
    machine.fake.exit(&id(&machine, "good"), 0);
    machine.fake.exit(&id(&machine, "bad"), 3);
    machine.runs_again("bad", 1).await;
    machine
        .pod_told("web", "good completed", |pod| {
            state(pod, "good") == "Terminated: Completed 0"
        })
        .await;
    machine.fake.exit(&id(&machine, "bad"), 0);
    let done = machine
        .pod_told("web", "succeeded", |pod| phase(pod) == "Succeeded")
        .await;
    assert_eq!((restarts(&done, "good"), restarts(&done, "bad")), (0, 1));
    machine.called("StopPodSandbox", 1).await;
    assert_eq!(machine.fake.count("CreateContainer"), 3);
    machine.delete("web.yaml");
    machine
        .reported("its end", |report| report.pods.is_empty().then_some(()))
        .await;
}

#[tokio::test]
async fn never_restarts_nothing_and_a_failure_fails_the_pod() {
    let mut machine = Machine::started().await;
    machine.write(
        "web.yaml",
        &manifest("web", "restartPolicy: Never", &["name: c, image: demo:1"]),
    );
    machine.running("web").await;
    machine.fake.exit(&id(&machine, "c"), 3);
    let failed = machine
        .pod_told("web", "failed", |pod| phase(pod) == "Failed")
        .await;
    assert_eq!(
        (state(&failed, "c").as_str(), restarts(&failed, "c")),
        ("Terminated: Error 3", 0)
    );
    // Not even by an agent that remembers nothing.
    let failed = told_by_the_next_agent(&mut machine).await;
    assert_eq!(state(&failed, "c"), "Terminated: Error 3");
    assert_eq!(
        (
            machine.fake.count("RunPodSandbox"),
            machine.fake.count("CreateContainer")
        ),
        (1, 1)
    );
}

/// What an agent that starts later reports about a pod that has failed and whose sandbox was stopped.
async fn told_by_the_next_agent(machine: &mut Machine) -> Arc<Pod> {
    machine
        .becomes("the sandbox stopped", |fake| {
            !fake.world().sandbox("web-node").unwrap().1.ready
        })
        .await;
    machine.kill().await;
    machine.start().await;
    machine
        .pod_told("web", "failed", |pod| phase(pod) == "Failed")
        .await
}

#[tokio::test]
async fn a_container_that_states_its_own_policy_follows_it_and_its_rules() {
    let mut machine = Machine::started().await;
    let rules = "[{action: Restart, exitCodes: {operator: In, values: [42]}}]";
    let ruled = format!("name: ruled, image: demo:1, restartPolicy: Never, restartPolicyRules: {rules}");
    let containers = [&ruled, "name: good, image: demo:1, restartPolicy: OnFailure"];
    machine.write("web.yaml", &manifest("web", "restartPolicy: Always", &containers));
    machine.running("web").await;
    machine.fake.exit(&id(&machine, "ruled"), 42);
    machine.runs_again("ruled", 1).await;
    machine.fake.exit(&id(&machine, "good"), 0);
    let running = machine
        .pod_told("web", "good completed", |pod| {
            state(pod, "good") == "Terminated: Completed 0"
        })
        .await;
    assert_eq!(phase(&running), "Running");
    machine.fake.exit(&id(&machine, "ruled"), 1);
    machine
        .pod_told("web", "failed", |pod| phase(pod) == "Failed")
        .await;
    // It has ended though its policy is Always, also for an agent that remembers nothing.
    let failed = told_by_the_next_agent(&mut machine).await;
    assert_eq!(
        (state(&failed, "ruled").as_str(), restarts(&failed, "ruled")),
        ("Terminated: Error 1", 1)
    );
    assert_eq!(
        (
            machine.fake.count("RunPodSandbox"),
            machine.fake.count("CreateContainer")
        ),
        (1, 3)
    );
}

#[tokio::test]
async fn init_containers_run_one_after_the_other_each_until_it_succeeds() {
    let machine = Machine::started().await;
    let init = "initContainers: [{name: i1, image: demo:1}, {name: i2, image: demo:1}]";
    machine.write("web.yaml", &manifest("web", init, &["name: c, image: demo:1"]));
    machine.runs_again("i1", 0).await;
    let pod = machine.pod("web").unwrap();
    assert_eq!(
        (phase(&pod), condition(&pod, "Initialized")),
        ("Pending", "False")
    );
    assert_eq!(state(&pod, "i2"), "Waiting: PodInitializing");
    assert_eq!(state(&pod, "c"), "Waiting: PodInitializing");
    assert_eq!(machine.fake.count("CreateContainer"), 1);
    machine.fake.exit(&id(&machine, "i1"), 0);
    machine.runs_again("i2", 0).await;
    machine.fake.exit(&id(&machine, "i2"), 1);
    machine.runs_again("i2", 1).await;
    machine.fake.exit(&id(&machine, "i2"), 0);
    let pod = machine.pod_told("web", "running", is_ready).await;
    assert_eq!(condition(&pod, "Initialized"), "True");
    assert_eq!(state(&pod, "i1"), "Terminated: Completed 0");
    let creates = machine
        .deeds()
        .into_iter()
        .filter(|call| call.call == "CreateContainer");
    assert_eq!(
        creates.map(|call| call.about).collect::<Vec<_>>(),
        ["i1#0", "i2#0", "i2#1", "c#0"]
    );
}
