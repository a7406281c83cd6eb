//! Stories of the whole agent: files come and go, the runtime does what it will, and what runs and what is reported
//! follows.

mod bounds;
mod callers;
mod addresses;
mod changes;
mod checkpoints;
mod cluster;
mod cluster_certificates;
mod cluster_claims;
mod cluster_classes;
mod cluster_objects;
mod cluster_tokens;
mod cluster_trust;
mod collections;
mod cut_off;
mod debugging;
mod driven_volumes;
mod drivers;
mod endings;
mod env_files;
mod evictions;
mod exec_plugins;
mod faults;
mod foreign_changes;
mod graces;
mod hooks;
mod identity;
mod image_volumes;
mod images;
mod join;
mod lives;
mod manifests;
mod network_disks;
mod nfs;
mod numbers;
mod probes;
mod protection;
mod pulls;
mod node_events;
mod preemption;
mod objects;
mod resize;
mod restart_all;
mod restarts;
mod serving_certificate;
mod shutdown;
mod timelines;
mod traces;
mod user_namespaces;
mod volumes;
mod waits;
mod work;

#[path = "../support/plugin.rs"]
mod plugin;

use gantry::csi::messages;
use k8s_cri::v1::ContainerState::ContainerRunning;

use crate::agent::{Machine, condition, container, full_name, manifest, phase, restarts, simple, state};
use crate::fake_cri::FakeCri;

/// The ids of the containers that run.
fn running_ids(fake: &FakeCri) -> Vec<String> {
    let world = fake.world();
    let running = world
        .containers
        .iter()
        .filter(|(_, container)| container.state == ContainerRunning);
    running.map(|(id, _)| id.clone()).collect()
}

fn conditions(pod: &k8s_openapi::api::core::v1::Pod) -> Vec<(String, String)> {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .map(|condition| (condition.type_.clone(), condition.status.clone()))
        .collect()
}

#[tokio::test]
async fn a_manifest_that_is_dropped_in_runs() {
    let machine = Machine::started().await;
    machine.fake.hold("RunPodSandbox");
    machine.write("web.yaml", &simple("web"));
    let pending = machine
        .pod_told("web", "pending", |pod| phase(pod) == "Pending")
        .await;
    assert_eq!(state(&pending, "c"), "Waiting: ContainerCreating");
    let check = |pod, expected: [&str; 5]| {
        let kinds = [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled",
        ];
        let expected: Vec<_> = kinds
            .iter()
            .zip(expected)
            .map(|(kind, is)| (kind.to_string(), is.to_owned()))
            .collect();
        assert_eq!(conditions(pod), expected);
    };
    check(&pending, ["False", "True", "False", "False", "True"]);
    machine.fake.release("RunPodSandbox");
    let running = machine.running("web").await;
    check(&running, ["True", "True", "True", "True", "True"]);
    let status = running.status.as_ref().unwrap();
    let sandbox_ip = machine.fake.world().sandbox("web-node").unwrap().1.ip.clone();
    assert_eq!(
        (status.pod_ip.as_ref(), status.host_ip.as_deref()),
        (Some(&sandbox_ip), Some("192.0.2.1"))
    );
    assert_eq!(restarts(&running, "c"), 0);
    let id = machine.fake.world().container("c").unwrap().0.clone();
    assert_eq!(
        container(&running, "c").unwrap().container_id,
        Some(format!("containerd://{id}"))
    );
}

#[tokio::test]
async fn deleting_the_file_removes_everything() {
    let machine = Machine::started().await;
    let files = |machine: &Machine| {
        let at = [machine.at.pods(), machine.at.logs(), machine.at.links()];
        at.iter()
            .map(|dir| std::fs::read_dir(dir).unwrap().count())
            .collect::<Vec<_>>()
    };
    machine.write("web.yaml", &simple("web"));
    machine.running("web").await;
    assert_eq!(files(&machine), [1, 1, 1]);
    machine.fake.hold("StopContainer");
    machine.delete("web.yaml");
    let leaving = machine
        .pod_told("web", "going", |pod| pod.metadata.deletion_timestamp.is_some())
        .await;
    assert_eq!(leaving.metadata.deletion_grace_period_seconds, Some(30));
    machine.fake.release("StopContainer");
    machine
        .reported("its end", |report| report.pods.is_empty().then_some(()))
        .await;
    {
        let world = machine.fake.world();
        assert_eq!((world.sandboxes.len(), world.containers.len()), (0, 0));
    }
    machine
        .until("empty directories", |machine| files(machine) == [0, 0, 0])
        .await;
}

#[tokio::test]
async fn an_edit_replaces_the_pod_and_the_old_one_is_gone_first() {
    let machine = Machine::started().await;
    machine.write("web.yaml", &simple("web"));
    let old = machine.running("web").await;
    machine.write("web.yaml", &manifest("web", "", &["name: d, image: demo:1"]));
    let new = machine.pod_told("web", "the new version", |pod| {
        crate::agent::is_ready(pod) && container(pod, "d").is_some()
    });
    let new = new.await;
    assert_ne!(new.metadata.uid, old.metadata.uid);
    assert_eq!(restarts(&new, "d"), 0);
    let deeds: Vec<&str> = machine.deeds().iter().map(|call| call.call).collect();
    let begin = ["RunPodSandbox", "CreateContainer", "StartContainer"];
    let end = [
        "StopContainer",
        "StopPodSandbox",
        "RemoveContainer",
        "RemovePodSandbox",
    ];
    assert_eq!(deeds, [&begin[..], &end, &begin].concat());
    assert_eq!(machine.fake.world().containers.len(), 1);
    let dirs: Vec<_> = std::fs::read_dir(machine.at.pods())
        .unwrap()
        .map(|dir| dir.unwrap().file_name())
        .collect();
    assert_eq!(dirs, [new.metadata.uid.as_deref().unwrap()]);
}

#[tokio::test]
async fn a_broken_manifest_is_told_and_the_one_beside_it_runs() {
    let machine = Machine::started().await;
    machine.write(
        "broken.yaml",
        &manifest("broken", "hostNetwork: sometimes", &["name: c, image: demo:1"]),
    );
    machine.write("web.yaml", &simple("web"));
    machine.running("web").await;
    let problem = machine
        .reported("the problem", |report| report.problems.first().cloned())
        .await;
    assert_eq!(problem.path, machine.manifest("broken.yaml"));
    assert_eq!(
        (problem.line, problem.field.as_str()),
        (Some(6), "spec.hostNetwork")
    );
    machine.delete("broken.yaml");
    machine
        .reported("no problem", |report| report.problems.is_empty().then_some(()))
        .await;
    assert!(machine.pod("web").is_some());
}

#[tokio::test]
async fn a_broken_edit_keeps_the_last_good_version_also_over_a_restart() {
    let mut machine = Machine::started().await;
    machine.write("web.yaml", &simple("web"));
    let before = machine.running("web").await;
    let ran = running_ids(&machine.fake);
    machine.write(
        "web.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: 5}]}\n",
    );
    let problem = machine
        .reported("the problem", |report| report.problems.first().cloned())
        .await;
    assert_eq!(problem.pod, Some(full_name("web")));
    machine.kill().await;
    machine.start().await;
    let after = machine.running("web").await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(running_ids(&machine.fake), ran);
    assert_eq!(machine.report().problems.len(), 1);
    assert_eq!(condition(&after, "Ready"), "True");
}
