//! Volumes that are images (KEP-4639).

use std::time::Duration;

use gantry::model::event::{EventType, RecordedEvent};
use gantry::model::report::PodsReport;
use k8s_cri::v1;

use crate::agent::{Machine, full_name, manifest, message, state};

const VOLUME: &str = "volumes: [{name: data, image: {reference: 'registry.example.com/data:1'}}]";
const IMAGE: &str = "registry.example.com/data:1";

fn mounting(container: &str, more: &str) -> String {
    format!("name: {container}, image: demo:1, volumeMounts: [{{name: data, mountPath: /data{more}}}]")
}

/// The mounts of a container at a path.
fn mount(machine: &Machine, container: &str, path: &str) -> v1::Mount {
    let world = machine.fake.world();
    let named =
        |config: &&v1::ContainerConfig| config.metadata.as_ref().is_some_and(|own| own.name == container);
    let config = world
        .containers
        .values()
        .map(|own| &own.config)
        .find(named)
        .unwrap();
    let found = config.mounts.iter().find(|mount| mount.container_path == path);
    found.unwrap().clone()
}

/// The events of the pod `web`: type, reason, message, and what they are about.
fn events(report: &PodsReport) -> Vec<String> {
    let all = report
        .events
        .get(&full_name("web"))
        .into_iter()
        .flat_map(|events| events.iter());
    let line = |event: &RecordedEvent| {
        let kind = if event.what.kind == EventType::Normal {
            ""
        } else {
            "! "
        };
        let about = event.what.field_path.as_deref().unwrap_or("pod");
        format!("{kind}{} {} ({about})", event.what.reason, event.what.message)
    };
    all.map(line).collect()
}

#[tokio::test]
async fn the_runtime_mounts_the_image_that_was_pulled_for_a_volume() {
    let machine = Machine::started().await;
    machine.fake.world().registry.insert(IMAGE.to_owned());
    let containers = [
        mounting("c", ""),
        mounting("d", ", subPathExpr: 'of/$(PART)'}], env: [{name: PART, value: x"),
    ];
    machine.write(
        "web.yaml",
        &manifest("web", VOLUME, &[&containers[0], &containers[1]]),
    );
    machine.running("web").await;
    let id = machine.fake.world().image(IMAGE).unwrap().id.clone();
    let expected = v1::Mount {
        container_path: "/data".to_owned(),
        readonly: true,
        image: Some(v1::ImageSpec {
            image: id,
            user_specified_image: IMAGE.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(mount(&machine, "c", "/data"), expected);
    assert_eq!(mount(&machine, "d", "/data"), expected);
    assert_eq!(machine.fake.world().image_sub_paths["d"][0], "of/x");
    assert_eq!(machine.fake.count("PullImage"), 1, "once for both");
    let all = machine
        .reported("the events", |report| Some(events(report)))
        .await;
    assert!(
        all.contains(&format!("Pulling Pulling image {IMAGE:?} (pod)")),
        "{all:?}"
    );
}

#[tokio::test]
async fn a_container_waits_for_the_image_of_its_volume_and_the_others_start() {
    let machine = Machine::started().await;
    let containers = [
        mounting("c", ", subPath: part"),
        "name: d, image: demo:1".to_owned(),
    ];
    machine.write(
        "web.yaml",
        &manifest("web", VOLUME, &[&containers[0], &containers[1]]),
    );
    let refused = machine
        .pod_told("web", "the failed pull", |pod| {
            state(pod, "c") == "Waiting: ErrImagePull" && state(pod, "d") == "running"
        })
        .await;
    let why = format!("failed to resolve reference {IMAGE:?}");
    assert_eq!(message(&refused, "c"), why);
    let expected = [
        format!("! Failed Failed to pull image {IMAGE:?}: {why} (pod)"),
        "! Failed Error: ErrImagePull (spec.containers{c})".to_owned(),
    ];
    machine
        .reported("the events", |report| {
            let all = events(report);
            expected.iter().all(|line| all.contains(line)).then_some(())
        })
        .await;
    let delayed = machine
        .pod_told("web", "the back-off", |pod| {
            state(pod, "c") == "Waiting: ImagePullBackOff"
        })
        .await;
    assert_eq!(
        message(&delayed, "c"),
        format!("Back-off pulling image {IMAGE:?}: ErrImagePull: {why}")
    );
    // One that was imported meanwhile is used at once.
    machine.fake.world().add_image(IMAGE);
    machine.say_imported();
    tokio::time::timeout(Duration::from_secs(5), machine.running("web"))
        .await
        .expect("the back-off is not waited for");
    assert_eq!(machine.fake.world().image_sub_paths["c"][0], "part");
}

#[tokio::test]
async fn a_volume_whose_image_must_not_be_pulled_says_so() {
    let machine = Machine::started().await;
    let volume = VOLUME.replace("data:1'", "data:1', pullPolicy: Never");
    machine.write("web.yaml", &manifest("web", &volume, &[&mounting("c", "")]));
    let refused = machine
        .pod_told("web", "the refusal", |pod| {
            state(pod, "c") == "Waiting: ErrImageNeverPull"
        })
        .await;
    let why = format!("Container image {IMAGE:?} is not present with pull policy of Never");
    assert_eq!(message(&refused, "c"), why);
    assert_eq!(machine.event("ErrImageNeverPull").await.0, why);
    assert_eq!(machine.fake.count("PullImage"), 0);
}
