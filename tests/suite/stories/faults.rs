//! The runtime fails, is not there, or has what is not ours.

use k8s_cri::v1::ContainerState::ContainerRunning;
use tonic::Status;

use super::running_ids;
use crate::agent::{Machine, full_name, manifest, message, phase, restarts, simple, state};

#[tokio::test]
async fn a_runtime_that_crashes_costs_no_container() {
    let mut machine = Machine::started().await;
    machine.write(
        "web.yaml",
        &manifest("web", "", &["name: a, image: demo:1", "name: b, image: demo:1"]),
    );
    machine.running("web").await;
    let before = running_ids(&machine.fake);
    let deeds = machine.deeds();
    machine.fake.stop();
    machine
        .until("the loss noticed", |machine| {
            machine.reaches_runtime() == Some(false)
        })
        .await;
    assert_eq!(phase(&machine.pod("web").unwrap()), "Running");
    machine.fake.restart();
    machine
        .until("the runtime back", |machine| {
            machine.reaches_runtime() == Some(true)
        })
        .await;
    machine.running("web").await;
    assert_eq!(running_ids(&machine.fake), before);
    assert_eq!(machine.deeds(), deeds);
    // What ended while the runtime was away is noticed.
    machine.fake.stop();
    machine
        .until("the loss noticed", |machine| {
            machine.reaches_runtime() == Some(false)
        })
        .await;
    let a = machine.fake.world().container("a").unwrap().0.clone();
    machine.fake.exit(&a, 1);
    machine.fake.restart();
    machine
        .pod_told("web", "a restarted", |pod| {
            state(pod, "a") == "running" && restarts(pod, "a") == 1
        })
        .await;
    assert_eq!(restarts(&machine.pod("web").unwrap(), "b"), 0);
}

#[tokio::test]
async fn a_runtime_that_comes_after_the_agent_gets_the_pods() {
    let mut machine = Machine::new();
    machine.fake.stop();
    machine.write("web.yaml", &simple("web"));
    machine.start().await;
    let pod = machine
        .pod_told("web", "pending", |pod| phase(pod) == "Pending")
        .await;
    assert_eq!(state(&pod, "c"), "Waiting: ContainerCreating");
    machine
        .until("the absence noticed", |machine| {
            machine.reaches_runtime() == Some(false)
        })
        .await;
    machine.fake.restart();
    machine.running("web").await;
    assert_eq!(machine.fake.count("RunPodSandbox"), 1);
}

#[tokio::test]
async fn a_pod_waits_for_the_runtimes_network_and_is_told_so_once() {
    let mut machine = Machine::new();
    machine.fake.world().network_ready = false;
    machine.write("web.yaml", &simple("web"));
    machine.start().await;
    let waiting = |report: &gantry::model::report::PodsReport| {
        let mut events = report.events.values().flat_map(|events| events.iter());
        events
            .find(|event| event.what.reason == "NetworkNotReady")
            .cloned()
    };
    let event = machine.reported("the event", waiting).await;
    assert_eq!(
        event.what.message,
        "network is not ready: container runtime network not ready: NetworkReady=false \
         reason:NetworkPluginNotReady message:cni plugin not initialized"
    );
    assert_eq!(
        state(&machine.pod("web").unwrap(), "c"),
        "Waiting: ContainerCreating"
    );
    assert_eq!(machine.fake.count("RunPodSandbox"), 0);
    machine.fake.world().network_ready = true;
    machine.running("web").await;
    assert_eq!(machine.reported("the event", waiting).await.count, 1);
}

#[tokio::test]
async fn a_sandbox_that_fails_twice_is_made_the_third_time() {
    let machine = Machine::started().await;
    machine
        .fake
        .fail("RunPodSandbox", 2, Status::unknown("no address left"));
    machine.write("web.yaml", &simple("web"));
    let event = machine.reported("the event", |report| {
        let events = report.events.get(&full_name("web"))?;
        events
            .iter()
            .find(|event| event.what.reason == "FailedCreatePodSandBox")
            .cloned()
    });
    let event = event.await;
    assert!(
        event.what.message.starts_with("Failed to create pod sandbox: "),
        "{event:?}"
    );
    assert!(event.what.message.contains("no address left"), "{event:?}");
    assert_eq!(
        state(&machine.pod("web").unwrap(), "c"),
        "Waiting: ContainerCreating"
    );
    let pod = machine.running("web").await;
    assert_eq!(machine.fake.count("RunPodSandbox"), 3);
    assert_eq!(restarts(&pod, "c"), 0);
    assert!(machine.memory().pods[&full_name("web")].failures.is_empty());
}

/// One story for two pods, since both wait for the ten seconds that such a failure costs.
#[tokio::test]
async fn a_create_and_a_pull_that_fail_are_told_and_tried_again() {
    let machine = Machine::started().await;
    machine
        .fake
        .fail("CreateContainer", 1, Status::unknown("no space left on device"));
    machine.write("full.yaml", &simple("full"));
    let pod = machine
        .pod_told("full", "the failure", |pod| {
            state(pod, "c") == "Waiting: CreateContainerError"
        })
        .await;
    assert_eq!(message(&pod, "c"), "no space left on device");
    machine.write(
        "absent.yaml",
        &manifest("absent", "", &["name: d, image: absent:1"]),
    );
    let pod = machine
        .pod_told("absent", "the failure", |pod| {
            state(pod, "d") == "Waiting: ErrImagePull"
        })
        .await;
    assert!(
        message(&pod, "d").contains("failed to resolve reference"),
        "{}",
        message(&pod, "d")
    );
    machine.fake.world().registry.insert("absent:1".to_owned());
    for (pod, container) in [("full", "c"), ("absent", "d")] {
        let pod = machine.running(pod).await;
        assert_eq!(restarts(&pod, container), 0);
    }
    assert_eq!(machine.fake.count("RunPodSandbox"), 2);
    assert_eq!(
        (
            machine.fake.count("CreateContainer"),
            machine.fake.count("PullImage")
        ),
        (3, 2)
    );
}

#[tokio::test]
async fn an_image_that_is_imported_ends_the_back_off_of_its_pull() {
    let machine = Machine::started().await;
    machine.write("web.yaml", &manifest("web", "", &["name: c, image: absent:1"]));
    machine
        .pod_told("web", "the failure", |pod| {
            state(pod, "c") == "Waiting: ErrImagePull"
        })
        .await;
    machine.fake.world().add_image("absent:1");
    machine.say_imported();
    machine.running("web").await;
    assert_eq!(
        machine.fake.count("PullImage"),
        1,
        "what is there is not asked of a registry"
    );
}

#[tokio::test]
async fn what_is_not_of_a_kubelet_is_left_alone() {
    let mut machine = Machine::new();
    machine.fake.add_stranger();
    let stranger = machine.fake.world().sandboxes.keys().next().unwrap().clone();
    machine.write("web.yaml", &simple("web"));
    machine.start().await;
    machine.running("web").await;
    machine.delete("web.yaml");
    machine
        .reported("its end", |report| report.pods.is_empty().then_some(()))
        .await;
    machine.kill().await;
    machine.write("other.yaml", &simple("other"));
    machine.start().await;
    machine.running("other").await;
    assert_eq!(machine.deeds().iter().find(|call| call.about == stranger), None);
    assert!(machine.fake.world().sandboxes[&stranger].ready);
}

#[tokio::test]
async fn a_sandbox_that_dies_takes_its_containers_along_and_is_made_anew() {
    let machine = Machine::started().await;
    machine.write("web.yaml", &simple("web"));
    machine.running("web").await;
    let first = machine.fake.world().sandbox("web-node").unwrap().0.clone();
    machine.fake.kill_sandbox(&first);
    let pod = machine
        .pod_told("web", "a new container", |pod| {
            restarts(pod, "c") == 1 && state(pod, "c") == "running"
        })
        .await;
    let world = machine.fake.world();
    let (second, sandbox) = world.sandbox("web-node").unwrap();
    assert_eq!(
        (
            second != &first,
            sandbox.config.metadata.as_ref().unwrap().attempt
        ),
        (true, 1)
    );
    assert_eq!(pod.status.as_ref().unwrap().pod_ip.as_ref(), Some(&sandbox.ip));
    let running = world
        .containers
        .values()
        .filter(|container| container.state == ContainerRunning);
    assert_eq!(
        running.map(|container| &container.sandbox).collect::<Vec<_>>(),
        [second]
    );
}
