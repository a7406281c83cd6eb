//! What a pod's author, or an API server that is wrong, asks for beyond what can be: their pod says why, and all others
//! run.

use gantry::model::bounds;
use serde_json::{Value, json};

use crate::agent::Machine;

async fn runs(machine: &Machine, pod: &str) {
    let is = |machine: &Machine| {
        let object = machine.api().get("pods", pod).unwrap();
        object["status"]["phase"] == "Running"
    };
    machine.until(&format!("{pod} runs"), is).await;
}

#[tokio::test]
async fn an_environment_that_no_program_can_be_passed_is_refused_with_the_bound() {
    let machine = Machine::joined().await;
    machine.api().write(
        "configmaps",
        "page",
        json!({"data": {"BIG": "x".repeat(100_000)}}),
    );
    let big = "$(BIG)".repeat(100);
    let more = json!({"containers": [{
        "name": "c", "image": "demo:1",
        "envFrom": [{"configMapRef": {"name": "page"}}], "env": [{"name": "A", "value": big}],
    }]});
    machine.api().bind_asking("large", "u1", "demo:1", more);
    machine.api().bind("web", "u2", "demo:1");
    runs(&machine, "web").await;
    let is = |machine: &Machine| {
        let object: Value = machine.api().get("pods", "large").unwrap();
        let waiting = &object["status"]["containerStatuses"][0]["state"]["waiting"];
        waiting["reason"] == "CreateContainerConfigError"
            && waiting["message"] == bounds::exec_total_exceeded("c")
    };
    machine.until("the bound is reported", is).await;
}

#[tokio::test]
async fn the_owner_of_a_pod_that_is_not_run_finds_an_event_that_says_why() {
    let machine = Machine::joined().await;
    machine.api().bind_asking(
        "odd",
        "u1",
        "demo:1",
        json!({"resourceClaims": [{"name": "gpu"}]}),
    );
    let is = |machine: &Machine| {
        let events = machine.api().all("events");
        events.iter().any(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            event["reason"] == "FailedValidation"
                && event["involvedObject"]["uid"] == "u1"
                && message.contains("spec.resourceClaims: is not supported")
        })
    };
    machine.until("the event", is).await;
}

#[tokio::test]
async fn a_pod_known_by_a_path_is_reported_and_touches_nothing() {
    let machine = Machine::joined().await;
    machine.api().bind("escape", "../escape", "demo:1");
    machine.api().bind("web", "u2", "demo:1");
    runs(&machine, "web").await;
    let problem = |report: &gantry::model::report::PodsReport| {
        report.problems.first().map(|problem| problem.field.clone())
    };
    assert_eq!(machine.reported("the problem", problem).await, "metadata.uid");
    // Its removal would take the directory away that its UID leads to.
    let beside = machine.at.pods().join("../escape");
    std::fs::create_dir_all(&beside).unwrap();
    machine.api().remove("pods", "escape");
    machine.api().delete_gracefully("web", 0);
    machine
        .until("web is gone", |machine| {
            machine.api().get("pods", "web").is_none()
        })
        .await;
    assert!(beside.exists());
    assert_eq!(machine.fake.count("RunPodSandbox"), 1);
}
