//! How pods end, by whatever cause, and what starts again.

use std::time::Duration;

use k8s_cri::v1::ContainerState;
use serde_json::json;
use tokio::time::Instant;

use crate::agent::{Machine, container, full_name, is_ready, manifest, phase, restarts, simple, state};

/// The names of the containers that were stopped, in the order of the calls.
fn stopped(machine: &Machine) -> Vec<String> {
    let world = machine.fake.world();
    let stops = world.calls.iter().filter(|call| call.call == "StopContainer");
    let name = |id: &String| {
        let config = &world.containers.get(id)?.config;
        config.metadata.as_ref().map(|metadata| metadata.name.clone())
    };
    stops
        .map(|call| name(&call.about).unwrap_or_else(|| call.about.clone()))
        .collect()
}

/// A pod `web` of one container and two sidecars, with what is stated of each beside its name and image.
fn with_sidecars(spec: &str, of_container: &str, of_sidecars: &str) -> String {
    let sidecar =
        |name: &str| format!("  - {{name: {name}, image: demo:1, restartPolicy: Always{of_sidecars}}}");
    let spec = format!("{spec}\n  initContainers:\n{}\n{}", sidecar("s1"), sidecar("s2"));
    manifest("web", &spec, &[&format!("name: c, image: demo:1{of_container}")])
}

const HOOK: &str = ", lifecycle: {preStop: {exec: {command: [bye]}}}";

#[tokio::test]
async fn a_pod_whose_manifest_is_gone_ends_its_sidecars_last_also_under_an_agent_that_did_not_know_it() {
    for replaced in [false, true] {
        let mut machine = Machine::started().await;
        machine.write(
            "web.yaml",
            &with_sidecars("terminationGracePeriodSeconds: 60", HOOK, ""),
        );
        machine.running("web").await;
        machine.kill().await;
        machine.delete("web.yaml");
        if replaced {
            machine.write("web.yaml", &simple("web"));
        }
        machine.fake.hold("ExecSync");
        // Removed containers have no name any more.
        machine.fake.hold("RemoveContainer");
        machine.start().await;
        machine.called("ExecSync", 1).await;
        machine.fake.release("ExecSync");
        machine.called("RemoveContainer", 1).await;
        assert_eq!(stopped(&machine), ["c", "s2", "s1"]);
        machine.fake.release("RemoveContainer");
        machine.called("RemovePodSandbox", 1).await;
    }
}

#[tokio::test]
async fn the_hooks_of_all_are_called_at_the_beginning_and_when_the_grace_is_over_all_are_stopped_together() {
    let machine = Machine::started().await;
    machine.write(
        "web.yaml",
        &with_sidecars("terminationGracePeriodSeconds: 3", "", HOOK),
    );
    machine.running("web").await;
    // The container does not end, and the hooks neither.
    machine.fake.hold("ExecSync");
    machine.fake.hold("StopContainer");
    machine.delete("web.yaml");
    machine.called("ExecSync", 2).await;
    machine.called("StopContainer", 1).await;
    let began = Instant::now();
    assert_eq!(stopped(&machine), ["c"]);
    machine.called("StopContainer", 3).await;
    let (waited, mut names) = (began.elapsed(), stopped(&machine));
    names.sort();
    assert_eq!(names, ["c", "s1", "s2"]);
    assert!(
        waited > Duration::from_secs(2),
        "they had their grace: {waited:?}"
    );
    assert_eq!(machine.fake.count("ExecSync"), 2);
    machine.fake.release("StopContainer");
    machine.fake.release("ExecSync");
    machine.called("RemovePodSandbox", 1).await;
    let graces = machine.fake.world().graces.clone();
    // Which of the held ones is answered first, is chance.
    let last = graces.iter().filter(|grace| **grace == 2).count();
    assert_eq!((graces.len(), last), (3, 2), "{graces:?}");
}

#[tokio::test]
async fn a_grace_goes_on_under_the_next_agent() {
    let mut machine = Machine::started().await;
    machine.write(
        "web.yaml",
        &with_sidecars("terminationGracePeriodSeconds: 3600", "", ""),
    );
    machine.running("web").await;
    machine.fake.hold("StopContainer");
    machine.delete("web.yaml");
    machine.called("StopContainer", 1).await;
    let uid = machine.at.pods().read_dir().unwrap().next().unwrap().unwrap();
    let kept = uid.path().join("gantry-pod.json");
    machine.kill().await;
    // As if most of it had passed.
    let mut checkpoint: serde_json::Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    let left = jiff::Timestamp::now() + Duration::from_secs(100);
    assert!(checkpoint["ends"].is_string(), "{checkpoint}");
    checkpoint["ends"] = json!(left);
    std::fs::write(&kept, checkpoint.to_string()).unwrap();
    machine.start().await;
    machine.called("StopContainer", 2).await;
    machine.fake.release("StopContainer");
    machine.called("RemovePodSandbox", 1).await;
    let graces = machine.fake.world().graces.clone();
    assert!(
        graces.iter().filter(|grace| **grace <= 100).count() >= 3,
        "what was left of it: {graces:?}"
    );
}

#[tokio::test]
async fn a_manifest_that_is_deleted_and_made_again_is_a_restart_and_one_that_is_renamed_is_none() {
    let machine = Machine::started().await;
    machine.write("web.yaml", &simple("web"));
    let first = machine.running("web").await;
    for count in 1..3 {
        machine.delete("web.yaml");
        std::fs::write(machine.manifest("web.yaml"), simple("web")).unwrap();
        let again = machine
            .pod_told("web", &format!("restarted {count} times"), |pod| {
                is_ready(pod) && restarts(pod, "c") == count
            })
            .await;
        assert_eq!(again.metadata.uid, first.metadata.uid);
    }
    assert_eq!(machine.fake.count("StopContainer"), 2, "{}", machine.seen());
    // Renamed into place with the same content, and another one that shows that it was looked at.
    machine.write("web.yaml", &simple("web"));
    machine.write("other.yaml", &simple("other"));
    machine.running("other").await;
    assert_eq!(restarts(&machine.pod("web").unwrap(), "c"), 2);
    assert_eq!(machine.fake.count("StopContainer"), 2, "{}", machine.seen());
}

#[tokio::test]
async fn a_pod_that_has_ended_runs_again_when_its_manifest_is_made_again() {
    let machine = Machine::started().await;
    let job = manifest("web", "restartPolicy: Never", &["name: c, image: demo:1"]);
    machine.write("web.yaml", &job);
    machine.running("web").await;
    let id = machine.fake.world().container("c").unwrap().0.clone();
    machine.fake.exit(&id, 0);
    machine
        .pod_told("web", "succeeded", |pod| phase(pod) == "Succeeded")
        .await;
    machine.delete("web.yaml");
    std::fs::write(machine.manifest("web.yaml"), &job).unwrap();
    let again = |pod: &k8s_openapi::api::core::v1::Pod| state(pod, "c") == "running";
    let again = machine.pod_told("web", "running again", again).await;
    assert_eq!(restarts(&again, "c"), 1);
}

#[tokio::test]
async fn a_container_that_the_runtime_has_lost_is_counted_on_and_has_a_log_of_its_own() {
    let mut machine = Machine::started().await;
    machine.write("web.yaml", &simple("web"));
    machine.running("web").await;
    let lose = |machine: &Machine| {
        let mut world = machine.fake.world();
        let id = world.container("c").unwrap().0.clone();
        let log = world.containers.remove(&id).unwrap().log_path;
        drop(world);
        std::fs::write(&log, "what it said").unwrap();
        machine.fake.announce_exit(&id);
        log
    };
    let log = lose(&machine);
    let counted = |count: i32| {
        move |pod: &k8s_openapi::api::core::v1::Pod| is_ready(pod) && restarts(pod, "c") == count
    };
    machine.pod_told("web", "counted", counted(1)).await;
    assert!(log.ends_with("/c/0.log"), "{log}");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "what it said");
    // All that the runtime had is lost while no agent runs, as at a restart of the machine.
    machine.kill().await;
    {
        let mut world = machine.fake.world();
        world.containers.clear();
        world.sandboxes.clear();
    }
    machine.start().await;
    let pod = machine.pod_told("web", "counted on", counted(2)).await;
    assert!(container(&pod, "c").is_some());
    let (_, newest) = machine
        .fake
        .world()
        .container("c")
        .map(|(id, c)| (id.clone(), c.clone()))
        .unwrap();
    assert!(newest.log_path.ends_with("/c/2.log"), "{}", newest.log_path);
    assert_eq!(newest.state, ContainerState::ContainerRunning);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "what it said");
}

#[tokio::test]
async fn another_image_of_a_container_that_waits_for_its_restart_is_started_at_once() {
    let machine = Machine::joined().await;
    machine.fake.world().add_image("demo:2");
    machine.api().bind("web", "u1", "demo:1");
    let name = crate::pods::name("web");
    let reported = |what: &'static str, holds: fn(&k8s_openapi::api::core::v1::Pod) -> bool| {
        let name = name.clone();
        let machine = &machine;
        async move {
            machine
                .reported(what, |report| {
                    report.pods.get(&name).is_some_and(|pod| holds(pod)).then_some(())
                })
                .await;
        }
    };
    reported("running", |pod| state(pod, "c") == "running").await;
    let exit = || {
        let id = machine.fake.world().container("c").unwrap().0.clone();
        machine.fake.exit(&id, 1);
    };
    exit();
    reported("restarted", |pod| {
        state(pod, "c") == "running" && restarts(pod, "c") == 1
    })
    .await;
    exit();
    reported("ended", |pod| state(pod, "c") != "running").await;
    let mut object = machine.api().get("pods", "web").unwrap();
    object["spec"]["containers"][0]["image"] = json!("demo:2");
    let began = Instant::now();
    machine.api().write("pods", "web", object);
    reported("the new image", |pod| {
        state(pod, "c") == "running" && restarts(pod, "c") == 2
    })
    .await;
    // The back-off of the old one would be ten seconds.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_container_has_the_stop_signal_that_it_states_if_the_feature_gate_is_on() {
    let mut machine = Machine::new();
    machine.stop_signals = true;
    machine.start().await;
    let containers = [
        "name: c, image: demo:1, lifecycle: {stopSignal: SIGUSR1}",
        "name: d, image: demo:1",
    ];
    machine.write("web.yaml", &manifest("web", "os: {name: linux}", &containers));
    machine.running("web").await;
    // CRI's number of it.
    assert_eq!(machine.fake.world().stop_signals, [("c".to_owned(), 29)].into());
    let pod = machine.pod("web").unwrap();
    let signals = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let signals: Vec<_> = signals
        .map(|container| container.stop_signal.as_deref())
        .collect();
    assert_eq!(signals, [Some("SIGUSR1"), None]);
}

#[tokio::test]
async fn a_stop_signal_without_the_feature_gate_is_a_problem_in_a_manifest_and_ignored_in_a_pod_of_the_api() {
    let machine = Machine::joined().await;
    let container = "name: c, image: demo:1, lifecycle: {stopSignal: SIGUSR1}";
    machine.write("web.yaml", &manifest("web", "os: {name: linux}", &[container]));
    machine
        .reported("the problem", |report| {
            let problem = "needs the feature gate ContainerStopSignals";
            report
                .problems
                .iter()
                .any(|found| found.to_string().contains(problem))
                .then_some(())
        })
        .await;
    let spec = json!({
        "os": {"name": "linux"},
        "containers": [{"name": "c", "image": "demo:1", "lifecycle": {"stopSignal": "SIGUSR1"}}]
    });
    machine.api().bind_asking("api", "u1", "demo:1", spec);
    machine.called("CreateContainer", 1).await;
    machine.called("StartContainer", 1).await;
    assert_eq!(machine.fake.world().stop_signals, [].into());
}

#[tokio::test]
async fn a_full_host_name_that_is_too_long_is_reported_and_the_pod_waits() {
    let machine = Machine::started().await;
    let spec = format!(
        "hostname: {}\n  subdomain: sub\n  setHostnameAsFQDN: true",
        "h".repeat(60)
    );
    machine.write("web.yaml", &manifest("web", &spec, &["name: c, image: demo:1"]));
    let event = |report: &gantry::model::report::PodsReport| {
        let events = report.events.get(&full_name("web"))?;
        let is = |event: &gantry::model::event::RecordedEvent| {
            event.what.reason == "FailedCreatePodSandBox"
                && event.what.message.starts_with(
                    "Failed to create pod sandbox: failed to construct FQDN from pod hostname and cluster domain, FQDN h",
                )
                && event.what.message.contains(" is too long (64 characters is the max, ")
        };
        events.iter().any(is).then_some(())
    };
    machine.reported("the event", event).await;
    assert_eq!(phase(&machine.pod("web").unwrap()), "Pending");
    assert_eq!(machine.fake.count("RunPodSandbox"), 0);
}
