//! What is wanted changes while something is being done for it.

use tonic::Status;

use crate::agent::{Machine, condition, container, full_name, is_ready, manifest, phase, simple, state};

/// Another version of the pod `web`, whose container is `d`.
fn other() -> String {
    manifest("web", "", &["name: d, image: demo:1"])
}

async fn ends(machine: &Machine) {
    machine
        .reported("its end", |report| report.pods.is_empty().then_some(()))
        .await;
    machine
        .becomes("nothing left", |fake| fake.world().sandboxes.is_empty())
        .await;
    let empty = |machine: &Machine| std::fs::read_dir(machine.at.pods()).unwrap().next().is_none();
    machine.until("no directory left", empty).await;
}

/// The one sandbox and the one container that there shall be.
async fn one_of_each(machine: &Machine, container: &str) {
    let one = |fake: &crate::fake_cri::FakeCri| {
        let world = fake.world();
        world.sandboxes.len() == 1 && world.containers.len() == 1 && world.container(container).is_some()
    };
    machine.becomes("one sandbox and one container", one).await;
}

#[tokio::test]
async fn an_edit_while_the_pod_is_being_started_starts_only_the_new_version() {
    for call in ["RunPodSandbox", "CreateContainer", "StartContainer"] {
        let machine = Machine::started().await;
        machine.fake.hold(call);
        machine.write("web.yaml", &simple("web"));
        machine.called(call, 1).await;
        machine.write("web.yaml", &other());
        machine
            .pod_told("web", "the new version", |pod| container(pod, "d").is_some())
            .await;
        machine.fake.release(call);
        machine.running("web").await;
        one_of_each(&machine, "d").await;
    }
}

#[tokio::test]
async fn a_pod_that_is_deleted_while_it_is_being_started_leaves_nothing() {
    for call in [
        "ImageStatus",
        "RunPodSandbox",
        "CreateContainer",
        "StartContainer",
    ] {
        let machine = Machine::started().await;
        machine.fake.hold(call);
        machine.write("web.yaml", &simple("web"));
        machine.called(call, 1).await;
        machine.delete("web.yaml");
        let gone = |report: &gantry::model::report::PodsReport| {
            let pod = report.pods.get(&full_name("web"));
            pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
                .then_some(())
        };
        machine.reported("the deletion", gone).await;
        machine.fake.release(call);
        ends(&machine).await;
    }
}

#[tokio::test]
async fn a_pull_that_takes_for_ever_does_not_hold_up_a_removal() {
    let machine = Machine::started().await;
    machine.fake.hold("PullImage");
    machine.write("web.yaml", &manifest("web", "", &["name: c, image: absent:1"]));
    machine.called("PullImage", 1).await;
    // Whoever asks what the pod waits for is answered meanwhile.
    let (message, count) = machine.event("Pulling").await;
    assert_eq!((message.as_str(), count), ("Pulling image \"absent:1\"", 1));
    machine.delete("web.yaml");
    ends(&machine).await;
}

#[tokio::test]
async fn a_version_that_comes_back_while_it_is_being_stopped_runs_anew() {
    let machine = Machine::started().await;
    machine.write("web.yaml", &simple("web"));
    let first = machine.running("web").await;
    machine.fake.hold("StopContainer");
    machine.write("web.yaml", &other());
    machine.called("StopContainer", 1).await;
    let (message, count) = machine.event("Killing").await;
    assert_eq!((message.as_str(), count), ("Stopping container c", 1));
    machine.write("web.yaml", &simple("web"));
    machine
        .pod_told("web", "the first version", |pod| {
            pod.metadata.uid == first.metadata.uid
        })
        .await;
    machine.fake.release("StopContainer");
    machine.running("web").await;
    one_of_each(&machine, "c").await;
}

#[tokio::test]
async fn an_old_version_that_cannot_be_stopped_keeps_the_new_one_from_starting() {
    let machine = Machine::started().await;
    machine.write("web.yaml", &simple("web"));
    machine.running("web").await;
    machine
        .fake
        .fail("StopContainer", 2, Status::unknown("it will not die"));
    machine
        .fake
        .fail("StopPodSandbox", 2, Status::unknown("it will not die"));
    machine.write("web.yaml", &other());
    machine.called("StopContainer", 2).await;
    assert_eq!(machine.fake.count("RunPodSandbox"), 1);
    let new = machine.pod_told("web", "the new version ready", |pod| {
        is_ready(pod) && container(pod, "d").is_some()
    });
    new.await;
    one_of_each(&machine, "d").await;
    let calls = machine.deeds();
    let removed = calls
        .iter()
        .position(|call| call.call == "RemovePodSandbox")
        .unwrap();
    let made = calls
        .iter()
        .rposition(|call| call.call == "RunPodSandbox")
        .unwrap();
    assert!(removed < made, "{calls:?}");
}

#[tokio::test]
async fn a_runtime_that_crashes_during_a_replacement_leaves_the_new_version_alone() {
    for call in [
        "StopContainer",
        "RemovePodSandbox",
        "RunPodSandbox",
        "StartContainer",
    ] {
        let mut machine = Machine::started().await;
        machine.write("web.yaml", &simple("web"));
        machine.running("web").await;
        machine.fake.world().calls.clear();
        machine.fake.hold_answer(call);
        machine.write("web.yaml", &other());
        machine.called(call, 1).await;
        machine.fake.stop();
        machine.fake.release(call);
        machine
            .until("the loss noticed", |machine| {
                machine.reaches_runtime() == Some(false)
            })
            .await;
        machine.fake.restart();
        let new = machine.pod_told("web", "the new version ready", |pod| {
            is_ready(pod) && container(pod, "d").is_some()
        });
        let new = new.await;
        assert_eq!(container(&new, "d").unwrap().restart_count, 0, "{call}");
        one_of_each(&machine, "d").await;
    }
}

#[tokio::test]
async fn a_pod_in_back_off_is_removed_at_once() {
    let machine = Machine::started().await;
    machine.write("web.yaml", &simple("web"));
    for _ in 0..2 {
        machine.running("web").await;
        let before = machine.fake.world().container("c").unwrap().0.clone();
        machine.fake.exit(&before, 1);
        machine
            .pod_told("web", "the exit", |pod| {
                let id = container(pod, "c").and_then(|status| status.container_id.clone());
                id != Some(format!("containerd://{before}")) || state(pod, "c") != "running"
            })
            .await;
    }
    machine
        .pod_told("web", "in back-off", |pod| {
            state(pod, "c") == "Terminated: Error 1"
        })
        .await;
    machine.delete("web.yaml");
    ends(&machine).await;
}

#[tokio::test]
async fn a_pod_that_does_not_fit_is_refused_until_there_is_room() {
    let machine = Machine::started().await;
    let asks = |name: &str, cpu: &str| {
        let container = format!("name: c, image: demo:1, resources: {{requests: {{cpu: {cpu}}}}}");
        manifest(name, "", &[&container])
    };
    machine.write("large.yaml", &asks("large", "3"));
    machine.running("large").await;
    machine.write("second.yaml", &asks("second", "2"));
    let refused = machine
        .pod_told("second", "refused", |pod| phase(pod) == "Failed")
        .await;
    assert_eq!(
        refused.status.as_ref().unwrap().reason.as_deref(),
        Some("UnexpectedAdmissionError")
    );
    machine.write("small.yaml", &asks("small", "1"));
    machine.running("small").await;
    assert_eq!(machine.fake.count("RunPodSandbox"), 2);
    assert_eq!(condition(&machine.pod("large").unwrap(), "Ready"), "True");
    machine.delete("large.yaml");
    machine.running("second").await;
}
