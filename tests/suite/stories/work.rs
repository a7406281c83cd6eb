//! How much is done, and what at once.

use std::sync::Arc;
use std::time::Duration;

use crate::agent::{Machine, is_ready, manifest, restarts, simple, state};
use crate::fake_cri::Call;

/// What a relist asks; nothing else is asked where nothing happens.
const RELIST: [&str; 3] = ["Status", "ListPodSandbox", "ListContainers"];

#[tokio::test]
async fn one_name_is_begun_while_another_is_waited_for() {
    let machine = Machine::started().await;
    machine.write("slow.yaml", &simple("slow"));
    machine.running("slow").await;
    machine.fake.hold("StopContainer");
    machine.delete("slow.yaml");
    machine.called("StopContainer", 1).await;
    machine.write("fast.yaml", &simple("fast"));
    machine.running("fast").await;
    assert!(machine.pod("slow").unwrap().metadata.deletion_timestamp.is_some());
    assert_eq!(machine.fake.count("RemovePodSandbox"), 0);
    machine.fake.release("StopContainer");
    machine
        .reported("the slow one's end", |report| {
            (report.pods.len() == 1).then_some(())
        })
        .await;
    assert!(is_ready(&machine.pod("fast").unwrap()));
}

#[tokio::test]
async fn pods_start_side_by_side() {
    let machine = Machine::started().await;
    machine.fake.hold("RunPodSandbox");
    machine.write("pods.yaml", &["a", "b", "c"].map(simple).join("---\n"));
    machine.called("RunPodSandbox", 3).await;
    machine.fake.release("RunPodSandbox");
    for pod in ["a", "b", "c"] {
        machine.running(pod).await;
    }
}

#[tokio::test]
async fn as_many_pods_are_worked_on_at_once_as_the_machine_bears() {
    let machine = Machine::started().await;
    machine.fake.hold("RunPodSandbox");
    let pods: Vec<String> = (0..9).map(|n| format!("pod-{n}")).collect();
    let manifests: Vec<String> = pods.iter().map(|pod| simple(pod)).collect();
    machine.write("pods.yaml", &manifests.join("---\n"));
    machine.called("RunPodSandbox", 4).await;
    // Others may wait for what it does.
    let host = manifest("host", "hostNetwork: true", &["name: c, image: demo:1"]);
    machine.write("host.yaml", &host);
    machine.called("RunPodSandbox", 5).await;
    let calls = machine.fake.calls();
    let made = calls.iter().filter(|call| call.call == "RunPodSandbox");
    let made: Vec<&str> = made.map(|call| call.about.as_str()).collect();
    assert_eq!((made.len(), made[4]), (5, "default/host-node#0"));
    machine.fake.release("RunPodSandbox");
    for pod in pods.iter().map(String::as_str).chain(["host"]) {
        machine.running(pod).await;
    }
}

/// Waits until so many relists have followed on each other with no other call between them.
async fn idle(machine: &Machine, relists: usize) {
    let quiet = |calls: &[Call]| {
        let last = calls.iter().rev().take_while(|call| RELIST.contains(&call.call));
        last.filter(|call| call.call == "Status").count() >= relists
    };
    machine
        .becomes(&format!("{relists} relists and nothing else"), |fake| {
            quiet(&fake.world().calls)
        })
        .await;
}

#[tokio::test]
async fn fifty_idle_pods_cost_their_lists_and_nothing_else() {
    let mut machine = Machine::new();
    machine.relist = Duration::from_millis(100);
    let pods: Vec<String> = (0..50).map(|n| format!("pod-{n}")).collect();
    machine.write(
        "pods.yaml",
        &pods
            .iter()
            .map(|pod| simple(pod))
            .collect::<Vec<_>>()
            .join("---\n"),
    );
    machine.start().await;
    let all = |report: &gantry::model::report::PodsReport| {
        let ready = report.pods.values().filter(|pod| is_ready(pod)).count();
        (ready == pods.len()).then_some(())
    };
    machine.reported("all ready", all).await;
    idle(&machine, 2).await;
    let (report, memory) = (machine.report(), machine.memory());
    machine.fake.world().calls.clear();
    idle(&machine, 3).await;
    assert!(
        Arc::ptr_eq(&report, &machine.report()),
        "what did not change is not told again"
    );
    assert!(
        Arc::ptr_eq(&memory, &machine.memory()),
        "what did not change is not remembered again"
    );

    // What happens to one is nothing to the others.
    let others: Vec<String> = {
        let world = machine.fake.world();
        let of_first = |pod: &Option<k8s_cri::v1::PodSandboxMetadata>| {
            pod.as_ref().is_some_and(|m| m.name == "pod-0-node")
        };
        let first = world
            .sandboxes
            .iter()
            .find(|(_, sandbox)| of_first(&sandbox.config.metadata))
            .unwrap()
            .0;
        let containers = world
            .containers
            .iter()
            .filter(|(_, container)| &container.sandbox != first);
        let sandboxes = world.sandboxes.keys().filter(|id| *id != first);
        sandboxes.chain(containers.map(|(id, _)| id)).cloned().collect()
    };
    let id = {
        let world = machine.fake.world();
        world
            .containers
            .keys()
            .find(|id| !others.contains(id))
            .unwrap()
            .clone()
    };
    machine.fake.world().calls.clear();
    machine.fake.exit(&id, 1);
    machine
        .pod_told("pod-0", "restarted", |pod| {
            state(pod, "c") == "running" && restarts(pod, "c") == 1
        })
        .await;
    idle(&machine, 2).await;
    let calls = machine.fake.calls();
    assert_eq!(calls.iter().find(|call| others.contains(&call.about)), None);
    let deeds: Vec<&str> = machine.deeds().iter().map(|call| call.call).collect();
    assert_eq!(deeds, ["CreateContainer", "StartContainer"]);
}
