//! Pods that ask for another of the runtime's handlers.

use serde_json::json;

use crate::agent::{Machine, full_name, is_ready, manifest, simple};
use crate::pods::name;

const ASKED: &str = "/apis/node.k8s.io/v1/runtimeclasses metadata.name=sandboxed";

async fn runs(machine: &Machine, pod: &str) {
    let ready = |report: &gantry::model::report::PodsReport| {
        let pod = report.pods.get(&name(pod));
        pod.is_some_and(|pod| is_ready(pod)).then_some(())
    };
    machine.reported(&format!("{pod} runs"), ready).await;
}

#[tokio::test]
async fn a_class_that_is_missing_holds_its_pod_until_it_is_there() {
    let machine = Machine::joined().await;
    let more = json!({"runtimeClassName": "sandboxed"});
    machine.fake.world().registry.insert("remote:1".to_owned());
    machine.api().bind_asking("web", "u1", "remote:1", more.clone());
    let said = "Failed to create pod sandbox: runtimeclass.node.k8s.io \"sandboxed\" not found";
    let event = |report: &gantry::model::report::PodsReport| {
        let events = report.events.get(&name("web"))?;
        let mut said_so = events
            .iter()
            .filter(|event| event.what.reason == "FailedCreatePodSandBox" && event.what.message == said);
        said_so.next().map(|_| ())
    };
    machine.reported("the event", event).await;
    machine.api().bind("plain", "u2", "demo:1");
    runs(&machine, "plain").await;
    assert_eq!(machine.fake.count("PullImage"), 0, "its image is not needed yet");
    // It need not be waited for once it is there.
    let class = json!({"handler": "runsc"});
    machine.api().write("runtimeclasses", "sandboxed", class);
    runs(&machine, "web").await;
    assert_eq!(machine.fake.world().handlers, ["", "runsc"]);
    machine.api().bind_asking("other", "u3", "demo:1", more);
    runs(&machine, "other").await;
    assert_eq!(machine.fake.world().handlers, ["", "runsc", "runsc"]);
    assert_eq!(
        (
            machine.api().count(&format!("GET {ASKED}")),
            machine.api().watches(ASKED)
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn nothing_starts_before_the_class_is_answered_and_what_runs_stays_without_it() {
    let machine = Machine::joined().await;
    machine
        .api()
        .write("runtimeclasses", "sandboxed", json!({"handler": "runsc"}));
    machine.api().set_silent("runtimeclasses", true);
    let more = json!({"runtimeClassName": "sandboxed"});
    machine.api().bind_asking("web", "u1", "demo:1", more);
    machine
        .until("it is asked", |machine| {
            machine.api().count(&format!("GET {ASKED}")) == 1
        })
        .await;
    machine.api().bind("plain", "u2", "demo:1");
    runs(&machine, "plain").await;
    assert_eq!(machine.fake.world().handlers, [""]);
    machine.api().set_silent("runtimeclasses", false);
    runs(&machine, "web").await;
    machine.api().remove("runtimeclasses", "sandboxed");
    let id = {
        let world = machine.fake.world();
        let of_web = world
            .containers
            .iter()
            .find(|(_, container)| container.config.labels["io.kubernetes.pod.name"] == "web");
        of_web.unwrap().0.clone()
    };
    machine.fake.exit(&id, 1);
    machine.called("StartContainer", 3).await;
    assert_eq!(machine.fake.world().handlers, ["", "runsc"]);
}

#[tokio::test]
async fn a_static_pod_has_its_class_of_the_api_server_and_waits_for_it() {
    let machine = Machine::joined().await;
    let text = manifest("web", "runtimeClassName: sandboxed", &["name: c, image: demo:1"]);
    machine.write("web.yaml", &text);
    machine.write("plain.yaml", &simple("plain"));
    machine.running("plain").await;
    let said = "Failed to create pod sandbox: runtimeclass.node.k8s.io \"sandboxed\" not found";
    let event = |report: &gantry::model::report::PodsReport| {
        let mut events = report.events.get(&full_name("web"))?.iter();
        events.find(|event| event.what.message == said).map(|_| ())
    };
    machine.reported("the event", event).await;
    let class = json!({"handler": "runsc"});
    machine.api().write("runtimeclasses", "sandboxed", class);
    machine.running("web").await;
    assert_eq!(machine.fake.world().handlers, ["", "runsc"]);
    // Without an API server its handler cannot be known.
    let alone = Machine::started().await;
    alone.write("web.yaml", &text);
    let refused = |report: &gantry::model::report::PodsReport| {
        let mut problems = report.problems.iter();
        problems
            .find(|problem| problem.field.contains("runtimeClassName"))
            .map(|_| ())
    };
    alone.reported("the refusal", refused).await;
}
