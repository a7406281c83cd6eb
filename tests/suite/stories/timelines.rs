//! What is recorded of a pod's start and end.

use gantry::model::report::PodsReport;
use gantry::model::step::{StepKind, Subject};
use gantry::model::timeline::{Timeline, What};

use crate::agent::{Machine, full_name, manifest};

const PROBED: &str = "name: c, image: demo:1, readinessProbe: {exec: {command: [hello]}}";

/// What a timeline has of the container `c`.
fn of_container(kind: StepKind) -> What {
    What::Step(kind, Subject::Container("c".to_owned()))
}

fn of_pod(kind: StepKind) -> What {
    What::Step(kind, Subject::Pod)
}

/// Waits until the pod's timeline has all of these, and returns it.
async fn recorded(machine: &Machine, wanted: &[What]) -> Timeline {
    let has_all = |report: &PodsReport| {
        let timeline = report.timelines.get(&full_name("web"))?;
        let has_all = wanted.iter().all(|what| timeline.entries.contains_key(what));
        has_all.then(|| Timeline::clone(timeline))
    };
    machine.reported("the pod's timeline", has_all).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_steps_of_a_pods_start_and_end_are_recorded_in_their_order() {
    let machine = Machine::started().await;
    machine.write("web.yaml", &manifest("web", "", &[PROBED]));
    let start = [
        of_pod(StepKind::RunSandbox),
        of_container(StepKind::EnsureImage),
        of_container(StepKind::CreateContainer),
        of_container(StepKind::StartContainer),
        What::ContainerReady("c".to_owned()),
        What::PodReady,
    ];
    let timeline = recorded(&machine, &start).await;
    assert!(machine.report().pods.contains_key(&full_name("web")));
    let began: Vec<_> = start.iter().map(|what| timeline.entries[what].began).collect();
    assert!(began.is_sorted(), "{began:?}");
    let image = timeline.entries[&start[1]].image.as_deref();
    assert_eq!(image, Some("demo:1"));
    assert!(timeline.entries.values().all(|entry| entry.error.is_none()));

    machine.delete("web.yaml");
    // The pod is gone, and its timeline is still there.
    let gone = |report: &PodsReport| (!report.pods.contains_key(&full_name("web"))).then_some(());
    machine.reported("the end of the pod", gone).await;
    let end = [
        of_container(StepKind::StopContainer),
        of_pod(StepKind::StopSandbox),
        of_pod(StepKind::RemoveSandbox),
    ];
    let timeline = recorded(&machine, &end).await;
    let ended: Vec<_> = end.iter().map(|what| timeline.entries[what].began).collect();
    assert!(
        ended.is_sorted() && ended[0] >= began[5],
        "{ended:?} after {began:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_step_is_recorded_with_its_error() {
    let machine = Machine::started().await;
    machine.write(
        "web.yaml",
        &manifest("web", "", &["name: c, image: missing:1, imagePullPolicy: Never"]),
    );
    let timeline = recorded(&machine, &[of_container(StepKind::EnsureImage)]).await;
    let error = timeline.entries[&of_container(StepKind::EnsureImage)]
        .error
        .as_deref();
    assert!(
        error.is_some_and(|error| error.contains("missing:1")),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_has_no_timeline_of_what_an_earlier_one_has_started() {
    let mut machine = Machine::started().await;
    machine.write("web.yaml", &manifest("web", "", &[PROBED]));
    machine.running("web").await;
    machine.kill().await;
    machine.start().await;
    machine.running("web").await;
    assert!(machine.report().timelines.get(&full_name("web")).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_status_that_the_api_server_has_taken_is_recorded() {
    let machine = Machine::joined().await;
    machine.write("web.yaml", &manifest("web", "", &["name: c, image: demo:1"]));
    recorded(&machine, &[What::PodReady, What::StatusWritten(1)]).await;
}
