//! The agent dies in the middle of what it does, and another goes on: nothing is made twice, nothing is left.

use k8s_cri::v1::ContainerState::ContainerRunning;

use super::running_ids;
use crate::agent::{Machine, manifest, restarts, simple};
use crate::fake_cri::Call;

/// One container whose image is there and one whose image has to be pulled.
fn two_containers() -> String {
    manifest("web", "", &["name: a, image: demo:1", "name: b, image: pulled:1"])
}

/// What a moment of an agent's death is.
#[derive(Debug, Clone, Copy)]
enum Before {
    /// The runtime has got the call and not begun.
    ItsWork,
    /// The runtime has done it and not answered.
    ItsAnswer,
}

async fn killed_at(call: &'static str, before: Before) -> Machine {
    let mut machine = Machine::new();
    machine.fake.world().registry.insert("pulled:1".to_owned());
    machine.write("web.yaml", &two_containers());
    match before {
        Before::ItsWork => machine.fake.hold(call),
        Before::ItsAnswer => machine.fake.hold_answer(call),
    }
    machine.start().await;
    machine.called(call, 1).await;
    if let Before::ItsAnswer = before {
        let done = |machine: &Machine| {
            let world = machine.fake.world();
            match call {
                "RunPodSandbox" => !world.sandboxes.is_empty(),
                "PullImage" => world.image("pulled:1").is_some(),
                "CreateContainer" => !world.containers.is_empty(),
                "StartContainer" => world.containers.values().any(|c| c.state == ContainerRunning),
                call => panic!("{call} makes nothing"),
            }
        };
        machine.until(&format!("{call} done"), done).await;
    }
    machine.kill().await;
    machine.fake.release(call);
    machine
}

async fn goes_on(mut machine: Machine, moment: &str) {
    machine.start().await;
    let pod = machine.running("web").await;
    let world = machine.fake.world();
    assert_eq!(
        (world.sandboxes.len(), world.containers.len()),
        (1, 2),
        "{moment}"
    );
    assert!(
        world
            .containers
            .values()
            .all(|container| container.state == ContainerRunning),
        "{moment}"
    );
    drop(world);
    assert_eq!((restarts(&pod, "a"), restarts(&pod, "b")), (0, 0), "{moment}");
    let thrown_away = machine
        .deeds()
        .into_iter()
        .find(|call| call.call.starts_with("Stop") || call.call.starts_with("Remove"));
    assert_eq!(thrown_away, None, "{moment}");
}

#[tokio::test]
async fn killed_before_any_call_of_a_start_is_done_the_next_agent_goes_on() {
    let calls = [
        "Version",
        "Status",
        "ListPodSandbox",
        "ListContainers",
        "ImageStatus",
        "PullImage",
        "RunPodSandbox",
        "PodSandboxStatus",
        "CreateContainer",
        "StartContainer",
        "ContainerStatus",
    ];
    for call in calls {
        let machine = killed_at(call, Before::ItsWork).await;
        goes_on(machine, &format!("killed before {call}")).await;
    }
}

#[tokio::test]
async fn killed_before_any_answer_of_a_start_the_next_agent_goes_on() {
    for call in ["PullImage", "RunPodSandbox", "CreateContainer", "StartContainer"] {
        let machine = killed_at(call, Before::ItsAnswer).await;
        goes_on(machine, &format!("killed before the answer of {call}")).await;
    }
}

#[tokio::test]
async fn killed_at_any_call_of_a_removal_the_next_agent_finishes_it() {
    for call in [
        "StopContainer",
        "StopPodSandbox",
        "RemoveContainer",
        "RemovePodSandbox",
    ] {
        for before in [Before::ItsWork, Before::ItsAnswer] {
            let mut machine = Machine::started().await;
            machine.write("web.yaml", &simple("web"));
            machine.running("web").await;
            match before {
                Before::ItsWork => machine.fake.hold(call),
                Before::ItsAnswer => machine.fake.hold_answer(call),
            }
            machine.delete("web.yaml");
            machine.called(call, 1).await;
            machine.kill().await;
            machine.fake.release(call);
            machine.start().await;
            machine
                .becomes(
                    &format!("nothing left, killed at {call} before {before:?}"),
                    |fake| {
                        let world = fake.world();
                        world.sandboxes.is_empty() && world.containers.is_empty()
                    },
                )
                .await;
            for dir in [machine.at.pods(), machine.at.logs(), machine.at.links()] {
                let empty = |_: &Machine| std::fs::read_dir(&dir).unwrap().next().is_none();
                machine
                    .until(
                        &format!("{} empty, killed at {call} before {before:?}", dir.display()),
                        empty,
                    )
                    .await;
            }
        }
    }
}

#[tokio::test]
async fn killed_between_the_end_of_one_version_and_the_start_of_the_next() {
    for call in ["StopContainer", "RemovePodSandbox", "RunPodSandbox"] {
        let mut machine = Machine::started().await;
        machine.write("web.yaml", &simple("web"));
        machine.running("web").await;
        machine.fake.hold(call);
        machine.fake.world().calls.clear();
        machine.write("web.yaml", &manifest("web", "", &["name: d, image: demo:1"]));
        machine.called(call, 1).await;
        machine.kill().await;
        machine.fake.release(call);
        machine.start().await;
        let pod = machine.running("web").await;
        assert_eq!(restarts(&pod, "d"), 0);
        machine
            .becomes("one of each", |fake| {
                let world = fake.world();
                world.sandboxes.len() == 1 && world.containers.len() == 1 && world.container("d").is_some()
            })
            .await;
    }
}

#[tokio::test]
async fn a_new_agent_adopts_what_runs_and_removes_what_nobody_wants_any_more() {
    let mut machine = Machine::started().await;
    machine.write("stays.yaml", &simple("stays"));
    machine.running("stays").await;
    let stays = running_ids(&machine.fake);
    machine.write("goes.yaml", &simple("goes"));
    machine.running("goes").await;
    machine.kill().await;
    machine.delete("goes.yaml");
    let deeds = machine.deeds().len();
    machine.start().await;
    let pod = machine.running("stays").await;
    assert_eq!(restarts(&pod, "c"), 0);
    machine
        .becomes("the other gone", |fake| fake.world().sandboxes.len() == 1)
        .await;
    assert_eq!(running_ids(&machine.fake), stays);
    let since: Vec<&str> = machine.deeds()[deeds..].iter().map(|call| call.call).collect();
    assert_eq!(
        since,
        [
            "StopContainer",
            "StopPodSandbox",
            "RemoveContainer",
            "RemovePodSandbox"
        ]
    );
}

/// Five pods of two containers, all wanted at once.
fn rollout(machine: &Machine) -> [&'static str; 5] {
    let pods = ["p0", "p1", "p2", "p3", "p4"];
    let containers = ["name: a, image: demo:1", "name: b, image: demo:1"];
    let manifests = pods.map(|pod| manifest(pod, "", &containers));
    machine.write("pods.yaml", &manifests.join("---\n"));
    pods
}

/// All of them run, and nothing was made twice or thrown away.
async fn rolled_out(machine: &Machine, pods: &[&str]) {
    for pod in pods {
        let pod = machine.running(pod).await;
        assert_eq!((restarts(&pod, "a"), restarts(&pod, "b")), (0, 0));
    }
    let world = machine.fake.world();
    assert_eq!(
        (world.sandboxes.len(), world.containers.len()),
        (pods.len(), 2 * pods.len())
    );
    drop(world);
    let thrown_away = |call: &Call| call.call.starts_with("Stop") || call.call.starts_with("Remove");
    assert_eq!(machine.deeds().into_iter().find(thrown_away), None);
}

#[tokio::test]
async fn killed_after_every_few_calls_of_a_rollout_it_is_finished_all_the_same() {
    let mut machine = Machine::new();
    let pods = rollout(&machine);
    // A life needs four calls for its first lists; what is left over is for work.
    for life in 0..24 {
        let before = machine.fake.calls().len();
        machine.start().await;
        machine
            .becomes("a few calls", |fake| {
                fake.world().calls.len() >= before + 5 + life % 3
            })
            .await;
        machine.kill().await;
    }
    machine.start().await;
    rolled_out(&machine, &pods).await;
}

#[tokio::test]
async fn a_runtime_that_crashes_again_and_again_during_a_rollout() {
    let mut machine = Machine::new();
    let pods = rollout(&machine);
    machine.start().await;
    for _ in 0..5 {
        let deeds = machine.deeds().len();
        let all_run = |machine: &Machine| running_ids(&machine.fake).len() == 2 * pods.len();
        machine
            .until("some deeds", |machine| {
                machine.deeds().len() >= deeds + 4 || all_run(machine)
            })
            .await;
        machine.fake.stop();
        machine
            .until("the loss noticed", |machine| {
                machine.reaches_runtime() == Some(false)
            })
            .await;
        machine.fake.restart();
    }
    rolled_out(&machine, &pods).await;
}
