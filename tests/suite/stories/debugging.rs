//! Somebody adds a container to a pod that runs, to look into it.

use k8s_cri::v1::NamespaceMode;
use serde_json::{Value, json};

use crate::agent::Machine;

/// Adds a container, as `kubectl debug` does.
fn add(machine: &Machine, container: Value) {
    let mut object = machine.api().get("pods", "web").unwrap();
    let added = &mut object["spec"]["ephemeralContainers"];
    match added.as_array_mut() {
        Some(added) => added.push(container),
        None => *added = json!([container]),
    }
    machine.api().write("pods", "web", object);
}

async fn becomes(machine: &Machine, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let pod = |machine: &Machine| machine.api().get("pods", "web").unwrap()["status"].clone();
    machine.until(what, |machine| holds(&pod(machine))).await;
    pod(machine)
}

/// The state of the nth container that was added.
fn added(status: &Value, index: usize) -> &Value {
    &status["ephemeralContainerStatuses"][index]["state"]
}

fn is_ready(status: &Value) -> bool {
    let conditions = status["conditions"].as_array();
    let ready = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == "Ready"));
    status["phase"] == "Running" && ready.is_some_and(|ready| ready["status"] == "True")
}

#[tokio::test]
async fn an_added_container_is_started_once_beside_its_target_and_disturbs_nothing() {
    let mut machine = Machine::joined().await;
    machine.api().bind("web", "u1", "demo:1");
    becomes(&machine, "the pod ready", is_ready).await;
    let target = machine.fake.world().container("c").unwrap().0.clone();
    add(
        &machine,
        json!({"name": "dbg", "image": "demo:1", "targetContainerName": "c"}),
    );
    let status = becomes(&machine, "dbg running", |status| {
        added(status, 0)["running"].is_object()
    })
    .await;
    assert!(is_ready(&status), "{status}");
    let id = {
        let world = machine.fake.world();
        let (id, made) = world.container("dbg").unwrap();
        let linux = made.config.linux.clone().unwrap();
        let namespaces = linux.security_context.unwrap().namespace_options.unwrap();
        assert_eq!(
            (namespaces.pid(), namespaces.target_id),
            (NamespaceMode::Target, target.clone())
        );
        id.clone()
    };
    machine.fake.exit(&id, 3);
    let status = becomes(&machine, "dbg ended", |status| {
        added(status, 0)["terminated"]["exitCode"] == 3
    })
    .await;
    assert!(is_ready(&status), "{status}");
    // An agent without memory plans the pod again and starts only what has to be started.
    machine.kill().await;
    machine.start().await;
    machine.fake.exit(&target, 1);
    let status = becomes(&machine, "c restarted", |status| {
        status["containerStatuses"][0]["restartCount"] == 1 && is_ready(status)
    })
    .await;
    assert_eq!(added(&status, 0)["terminated"]["exitCode"], 3);
    let count = |call| machine.fake.count(call);
    assert_eq!((count("RunPodSandbox"), count("StopContainer")), (1, 0));
    let creates = machine
        .deeds()
        .into_iter()
        .filter(|call| call.call == "CreateContainer");
    let creates: Vec<_> = creates.map(|call| call.about).collect();
    assert_eq!(creates, ["c#0", "dbg#0", "c#1"]);
}

#[tokio::test]
async fn an_added_container_that_cannot_start_is_told_and_the_pod_stays_ready() {
    let machine = Machine::joined().await;
    machine.api().bind("web", "u1", "demo:1");
    becomes(&machine, "the pod ready", is_ready).await;
    add(
        &machine,
        json!({"name": "dbg", "image": "registry.example.com/no-such:1"}),
    );
    let status = becomes(&machine, "the pull refused", |status| {
        let reason = &added(status, 0)["waiting"]["reason"];
        reason == "ErrImagePull" || reason == "ImagePullBackOff"
    })
    .await;
    assert!(is_ready(&status), "{status}");
    // The next one does not wait for it.
    add(&machine, json!({"name": "second", "image": "demo:1"}));
    let status = becomes(&machine, "the second running", |status| {
        added(status, 1)["running"].is_object()
    })
    .await;
    assert!(is_ready(&status), "{status}");
}
