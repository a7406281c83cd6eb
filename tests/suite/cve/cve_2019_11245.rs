//! A container without `runAsUser` ran as its image's user at its first start, and as root when it was restarted or when
//! its image had been pulled before. Every start asks the image again.

use std::time::Duration;

use k8s_cri::v1::Int64Value;

use crate::agent::{Machine, container, manifest, message, state};

/// The user of `demo:1`; the image is another one then, under the same name.
fn image_of(machine: &Machine, user: i64) {
    let mut world = machine.fake.world();
    world.images.clear();
    world.add_image("demo:1").uid = Some(Int64Value { value: user });
}

/// The newest instance's id, and the user that the runtime was asked to run it as.
fn made(machine: &Machine, of: &str) -> (String, Option<i64>) {
    let world = machine.fake.world();
    let (id, made) = world.container(of).unwrap();
    let linux = made.config.linux.as_ref().unwrap();
    let user = linux.security_context.as_ref().unwrap().run_as_user.as_ref();
    (id.clone(), user.map(|user| user.value))
}

/// Ends the newest instance and waits until the container runs for the nth time, counted from 0.
async fn restart(machine: &Machine, of: &str, times: i32) {
    let (id, _) = made(machine, of);
    machine.fake.exited_before(&id, 1, Duration::from_secs(600));
    machine.runs_again(of, times).await;
}

#[tokio::test]
async fn cve_2019_11245_a_restart_runs_as_the_images_user_again() {
    let machine = Machine::started().await;
    image_of(&machine, 7);
    machine.write("web.yaml", &manifest("web", "", &["name: c, image: demo:1"]));
    machine.running("web").await;
    assert_eq!(made(&machine, "c").1, Some(7));
    for times in 1..3 {
        restart(&machine, "c", times).await;
        assert_eq!(made(&machine, "c").1, Some(7), "after {times} restarts");
    }
    image_of(&machine, 9);
    restart(&machine, "c", 3).await;
    assert_eq!(made(&machine, "c").1, Some(9));
}

#[tokio::test]
async fn cve_2019_11245_a_restart_with_an_image_that_became_roots_is_refused() {
    let machine = Machine::started().await;
    image_of(&machine, 7);
    let context = "securityContext: {runAsNonRoot: true}";
    machine.write("web.yaml", &manifest("web", context, &["name: c, image: demo:1"]));
    let pod = machine.running("web").await;
    let uid = pod.metadata.uid.clone().unwrap();
    image_of(&machine, 0);
    let (id, _) = made(&machine, "c");
    machine.fake.exited_before(&id, 1, Duration::from_secs(600));
    let pod = machine
        .pod_told("web", "the restart refused", |pod| {
            state(pod, "c") == "Waiting: CreateContainerConfigError"
        })
        .await;
    let want = format!(
        "container has runAsNonRoot and image will run as root (pod: \"web-node_default({uid})\", container: c)"
    );
    assert_eq!(message(&pod, "c"), want);
    assert_eq!(container(&pod, "c").unwrap().restart_count, 0);
    assert_eq!(made(&machine, "c").0, id, "no second instance was made");
}

#[tokio::test]
async fn a_user_of_the_manifest_that_is_root_breaks_run_as_non_root_as_an_images_does() {
    let machine = Machine::started().await;
    image_of(&machine, 7);
    let context = "securityContext: {runAsNonRoot: true, runAsUser: 0}";
    machine.write("web.yaml", &manifest("web", context, &["name: c, image: demo:1"]));
    let pod = machine
        .pod_told("web", "the start refused", |pod| {
            state(pod, "c") == "Waiting: CreateContainerConfigError"
        })
        .await;
    let uid = pod.metadata.uid.clone().unwrap();
    let want = format!(
        "container's runAsUser breaks non-root policy (pod: \"web-node_default({uid})\", container: c)"
    );
    assert_eq!(message(&pod, "c"), want);
    assert_eq!(machine.fake.count("CreateContainer"), 0);
}
