//! A critical pod has no room: others end for it, and then it runs.

use gantry::model::report::PodsReport;
use serde_json::{Value, json};

use crate::agent::{Machine, manifest};

const CRITICAL: i32 = 2_000_000_000;

/// A pod that requests so much CPU; the machine has four.
fn asks(cpu: &str, priority: i32) -> Value {
    let resources = json!({"requests": {"cpu": cpu}});
    json!({
        "priority": priority,
        "terminationGracePeriodSeconds": 17,
        "containers": [{"name": "c", "image": "demo:1", "resources": resources}],
    })
}

async fn becomes(machine: &Machine, pod: &str, phase: &str) -> Value {
    let get = |machine: &Machine| machine.api().get("pods", pod).unwrap_or_default();
    machine
        .until(&format!("{pod} is {phase}"), |machine| {
            get(machine)["status"]["phase"] == phase
        })
        .await;
    get(machine)
}

/// The event that a pod has to leave, and how often it came.
async fn event(machine: &Machine, pod: &str) -> (String, u32) {
    let look = |report: &PodsReport| {
        let events = report.events.get(&crate::pods::name(pod))?;
        let event = events.iter().find(|event| event.what.reason == "Preempting")?;
        Some((event.what.message.clone(), event.count))
    };
    machine.reported(&format!("the event of {pod}"), look).await
}

fn preempted(machine: &Machine) -> f64 {
    machine.counted("kubelet_preemptions", &["cpu"])
}

fn assert_preempted(pod: &Value) {
    let status = &pod["status"];
    assert_eq!(
        (&status["reason"], &status["message"]),
        (
            &json!("Preempting"),
            &json!("Preempted in order to admit critical pod")
        )
    );
    let conditions = status["conditions"].as_array().unwrap();
    let target = conditions
        .iter()
        .find(|condition| condition["type"] == "DisruptionTarget");
    let target = target.expect("the condition is published");
    assert_eq!(
        (&target["status"], &target["reason"], &target["message"]),
        (
            &json!("True"),
            &json!("TerminationByKubelet"),
            &json!("Pod was preempted by Kubelet to accommodate a critical pod.")
        )
    );
}

#[tokio::test]
async fn a_critical_pod_of_the_api_waits_until_its_victim_has_ended_and_runs() {
    let machine = Machine::joined().await;
    machine.api().bind("besteffort", "u1", "demo:1");
    machine.api().bind_asking("small", "u2", "demo:1", asks("1", 5));
    machine.api().bind_asking("web", "u3", "demo:1", asks("2500m", 5));
    for pod in ["besteffort", "small", "web"] {
        becomes(&machine, pod, "Running").await;
    }
    machine.fake.hold("StopContainer");
    machine
        .api()
        .bind_asking("critical", "u4", "demo:1", asks("2", CRITICAL));
    machine.called("StopContainer", 1).await;
    // Its end is on disk before it is stopped.
    let checkpoint = std::fs::read_to_string(machine.at.pods().join("u3/gantry-pod.json")).unwrap();
    let checkpoint: Value = serde_json::from_str(&checkpoint).unwrap();
    assert_eq!(checkpoint["ended"], json!({"why": "preempted"}));
    let (message, times) = event(&machine, "web").await;
    assert_eq!(
        (message.as_str(), times),
        ("Preempted in order to admit critical pod", 1)
    );
    // Meanwhile it waits, and nobody takes its room. What would fit beside it waits, too.
    machine.api().bind_asking("late", "u5", "demo:1", asks("1", 5));
    machine.api().bind_asking("later", "u6", "demo:1", asks("2", 5));
    let later = becomes(&machine, "later", "Failed").await;
    assert_eq!(later["status"]["reason"], "OutOfcpu");
    let phase = |pod: &str| machine.api().get("pods", pod).unwrap()["status"]["phase"].clone();
    assert_eq!(phase("web"), "Running");
    assert!(["critical", "late"].iter().all(|pod| phase(pod) != "Failed"));
    assert_eq!(machine.fake.count("RunPodSandbox"), 3);
    machine.fake.release("StopContainer");
    becomes(&machine, "critical", "Running").await;
    becomes(&machine, "late", "Running").await;
    assert_preempted(&becomes(&machine, "web", "Failed").await);
    assert!(["besteffort", "small"].iter().all(|pod| phase(pod) == "Running"));
    assert_eq!(preempted(&machine), 1.0);
    // It had its own grace period.
    assert_eq!(machine.fake.world().graces, [17]);
}

#[tokio::test]
async fn an_agent_that_is_killed_meanwhile_ends_the_same_victim_and_no_other() {
    let mut machine = Machine::joined().await;
    machine.api().bind_asking("a", "u1", "demo:1", asks("1500m", 0));
    machine.api().bind_asking("b", "u2", "demo:1", asks("1600m", 0));
    for pod in ["a", "b"] {
        becomes(&machine, pod, "Running").await;
    }
    machine.fake.hold("StopContainer");
    machine
        .api()
        .bind_asking("critical", "u3", "demo:1", asks("2", CRITICAL));
    machine.called("StopContainer", 1).await;
    machine.kill().await;
    machine.start().await;
    machine.called("StopContainer", 2).await;
    assert_eq!(machine.fake.count("RunPodSandbox"), 2);
    machine.fake.release("StopContainer");
    becomes(&machine, "critical", "Running").await;
    assert_preempted(&becomes(&machine, "a", "Failed").await);
    becomes(&machine, "b", "Running").await;
    let events = machine.api().all("events").into_iter();
    let told = events.filter(|event| event["reason"] == "Preempting");
    assert_eq!(told.count(), 1);
    // The next agent finds all decided.
    machine.kill().await;
    machine.start().await;
    machine.write("later.yaml", &crate::agent::simple("later"));
    machine.running("later").await;
    assert_eq!(machine.fake.count("RunPodSandbox"), 4);
    for (pod, phase) in [("a", "Failed"), ("b", "Running"), ("critical", "Running")] {
        becomes(&machine, pod, phase).await;
    }
}

#[tokio::test]
async fn a_static_pod_has_pods_of_the_api_end_for_it_and_critical_ones_stay() {
    let machine = Machine::joined().await;
    machine
        .api()
        .bind_asking("kept", "u1", "demo:1", asks("2", CRITICAL));
    machine.api().bind_asking("web", "u2", "demo:1", asks("1500m", 7));
    for pod in ["kept", "web"] {
        becomes(&machine, pod, "Running").await;
    }
    let container = |cpu: &str| format!("name: c, image: demo:1, resources: {{requests: {{cpu: {cpu}}}}}");
    machine.write("net.yaml", &manifest("net", "", &[&container("1")]));
    machine.running("net").await;
    assert_preempted(&becomes(&machine, "web", "Failed").await);
    // There is nobody left that may end for this one.
    machine
        .api()
        .bind_asking("more", "u3", "demo:1", asks("2", CRITICAL));
    let more = becomes(&machine, "more", "Failed").await;
    assert_eq!(more["status"]["reason"], "UnexpectedAdmissionError");
    assert_eq!(
        more["status"]["message"],
        "Pod was rejected: Unexpected error while attempting to recover from admission failure: preemption: error \
         finding a set of pods to preempt: no set of running pods found to reclaim resources: [(res: cpu, q: 1000), ]"
    );
    assert_eq!(
        machine.api().get("pods", "kept").unwrap()["status"]["phase"],
        "Running"
    );
    assert_eq!(preempted(&machine), 1.0);
}

#[tokio::test]
async fn a_critical_pod_that_is_resized_has_others_end_for_it() {
    let machine = Machine::joined().await;
    machine
        .api()
        .bind_asking("critical", "u1", "demo:1", asks("1", CRITICAL));
    machine.api().bind_asking("web", "u2", "demo:1", asks("2500m", 0));
    for pod in ["critical", "web"] {
        becomes(&machine, pod, "Running").await;
    }
    let resources = json!({"requests": {"cpu": "3"}});
    machine.api().patch(
        "pods",
        "critical",
        &json!({
            "metadata": {"generation": 2},
            "spec": {"containers": [{"name": "c", "image": "demo:1", "resources": resources}]},
        }),
    );
    assert_preempted(&becomes(&machine, "web", "Failed").await);
    machine
        .until("critical is resized", |machine| {
            let pod = machine.api().get("pods", "critical").unwrap();
            pod["status"]["containerStatuses"][0]["allocatedResources"]["cpu"] == "3"
        })
        .await;
    assert_eq!(machine.fake.count("RunPodSandbox"), 2);
}
