//! A pod's resources change while it runs.

use gantry::model::report::PodsReport;
use serde_json::{Value, json};

use crate::agent::Machine;

/// The resources of the container `c`: limit and request are the same.
fn asks(cpu: &str, memory: &str) -> Value {
    let amounts = json!({"cpu": cpu, "memory": memory});
    json!({"requests": amounts, "limits": amounts})
}

fn bind(machine: &Machine, name: &str, uid: &str, resources: &Value, more: Value) {
    let mut container = json!({"name": "c", "image": "demo:1", "resources": resources});
    for (key, value) in more.as_object().unwrap() {
        container[key] = value.clone();
    }
    machine
        .api()
        .bind_asking(name, uid, "demo:1", json!({"containers": [container]}));
}

/// Changes the resources as a user does.
fn resize(machine: &Machine, name: &str, resources: &Value, generation: i64) {
    let mut object = machine.api().get("pods", name).unwrap();
    object["spec"]["containers"][0]["resources"] = resources.clone();
    object["metadata"]["generation"] = json!(generation);
    machine.api().write("pods", name, object);
}

async fn becomes(machine: &Machine, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let look = |machine: &Machine| {
        machine
            .api()
            .get("pods", name)
            .is_some_and(|object| holds(&object))
    };
    machine.until(&format!("{name}: {what}"), look).await;
    machine.api().get("pods", name).unwrap()
}

fn condition(object: &Value, kind: &str) -> Option<Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions
        .iter()
        .find(|condition| condition["type"] == kind)
        .cloned()
}

fn of_container(object: &Value) -> &Value {
    &object["status"]["containerStatuses"][0]
}

fn is_ready(object: &Value) -> bool {
    condition(object, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// The memory limit that was last requested of the runtime for the running container.
fn limit(machine: &Machine) -> i64 {
    let world = machine.fake.world();
    let (_, container) = world.container("c").unwrap();
    let linux = container.config.linux.as_ref().unwrap();
    linux.resources.as_ref().unwrap().memory_limit_in_bytes
}

async fn event(machine: &Machine, name: &str, reason: &str, message: &str) {
    let look = |report: &PodsReport| {
        let events = report.events.get(&crate::pods::name(name))?;
        let is = |event: &gantry::model::event::RecordedEvent| {
            event.what.reason == reason && event.what.message == message
        };
        events.iter().any(is).then_some(())
    };
    machine
        .reported(&format!("the event {reason}: {message}"), look)
        .await;
}

const MIB: i64 = 1 << 20;

#[tokio::test]
async fn a_container_gets_more_and_less_while_it_runs() {
    let mut machine = Machine::joined().await;
    bind(&machine, "web", "u1", &asks("100m", "64Mi"), json!({}));
    becomes(&machine, "web", "ready", is_ready).await;
    let id = machine.fake.world().container("c").unwrap().0.clone();
    machine.fake.hold("UpdateContainerResources");
    resize(&machine, "web", &asks("200m", "96Mi"), 2);
    let object = becomes(&machine, "web", "being resized", |object| {
        condition(object, "PodResizeInProgress").is_some()
    })
    .await;
    assert_eq!(of_container(&object)["resources"], asks("100m", "64Mi"));
    assert_eq!(
        of_container(&object)["allocatedResources"],
        asks("200m", "96Mi")["requests"]
    );
    // Killed in the midst of it, the next agent knows what is still to be done.
    machine.kill().await;
    machine.fake.release("UpdateContainerResources");
    machine.start().await;
    let object = becomes(&machine, "web", "resized", |object| {
        condition(object, "PodResizeInProgress").is_none()
    })
    .await;
    assert_eq!(of_container(&object)["resources"], asks("200m", "96Mi"));
    assert_eq!(of_container(&object)["restartCount"], 0);
    assert_eq!(object["status"]["observedGeneration"], 2);
    assert_eq!(limit(&machine), 96 * MIB);
    let summary = r#"{"containers":[{"name":"c","resources":{"limits":{"cpu":"200m","memory":"96Mi"},"requests":{"cpu":"200m","memory":"96Mi"}}}],"generation":2}"#;
    event(
        &machine,
        "web",
        "ResizeCompleted",
        &format!("Pod resize completed: {summary}"),
    )
    .await;
    // Less than it uses is not forced upon it, and it may change its mind.
    machine.fake.world().memory_in_use = 50 << 20;
    resize(&machine, "web", &asks("200m", "48Mi"), 3);
    let object = becomes(&machine, "web", "not resized", |object| {
        condition(object, "PodResizeInProgress").is_some_and(|condition| condition["reason"] == "Error")
    })
    .await;
    let message = condition(&object, "PodResizeInProgress").unwrap()["message"].clone();
    assert_eq!(
        message,
        "cannot decrease memory limits: attempting to set container \"c\" memory limit (50331648) below current \
         usage (52428800)"
    );
    assert_eq!(limit(&machine), 96 * MIB);
    machine.fake.world().memory_in_use = 1 << 20;
    becomes(&machine, "web", "resized", |object| {
        condition(object, "PodResizeInProgress").is_none()
    })
    .await;
    assert_eq!(limit(&machine), 48 * MIB);
    assert_eq!(*machine.fake.world().container("c").unwrap().0, id);
    assert_eq!(machine.fake.count("StopContainer"), 0);
}

#[tokio::test]
async fn a_container_that_wants_a_restart_for_it_gets_one() {
    let mut machine = Machine::joined().await;
    let policy = json!({"resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]});
    bind(&machine, "web", "u1", &asks("100m", "64Mi"), policy);
    becomes(&machine, "web", "ready", is_ready).await;
    resize(&machine, "web", &asks("100m", "96Mi"), 2);
    let resized = |object: &Value| {
        of_container(object)["restartCount"] == 1
            && is_ready(object)
            && condition(object, "PodResizeInProgress").is_none()
    };
    let object = becomes(&machine, "web", "restarted", resized).await;
    assert_eq!(of_container(&object)["resources"], asks("100m", "96Mi"));
    assert_eq!(limit(&machine), 96 * MIB);
    event(&machine, "web", "Killing", "Container c resize requires restart").await;
    let deeds = machine.deeds();
    machine.kill().await;
    machine.start().await;
    resize(&machine, "web", &asks("200m", "96Mi"), 3);
    let resized = |object: &Value| of_container(object)["resources"] == asks("200m", "96Mi");
    becomes(&machine, "web", "resized without a restart", resized).await;
    let since: Vec<_> = machine.deeds().split_off(deeds.len());
    let since: Vec<_> = since.iter().map(|call| call.call).collect();
    assert_eq!(since, ["UpdateContainerResources"]);
}

#[tokio::test]
async fn what_does_not_fit_waits_for_room_and_outlives_an_agent() {
    let mut machine = Machine::joined().await;
    bind(&machine, "other", "u1", &asks("2", "64Mi"), json!({}));
    bind(&machine, "web", "u2", &asks("1", "64Mi"), json!({}));
    becomes(&machine, "other", "ready", is_ready).await;
    becomes(&machine, "web", "ready", is_ready).await;
    resize(&machine, "web", &asks("3", "64Mi"), 2);
    let deferred = |object: &Value| {
        condition(object, "PodResizePending").is_some_and(|condition| condition["reason"] == "Deferred")
    };
    let object = becomes(&machine, "web", "deferred", deferred).await;
    let pending = condition(&object, "PodResizePending").unwrap();
    let lacks = "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000";
    assert_eq!(pending["message"], lacks);
    assert_eq!(of_container(&object)["allocatedResources"]["cpu"], "1");
    let summary = format!(
        r#"{{"containers":[{{"name":"c","resources":{}}}],"generation":2,"error":"{lacks}"}}"#,
        r#"{"limits":{"cpu":"3","memory":"64Mi"},"requests":{"cpu":"3","memory":"64Mi"}}"#
    );
    event(
        &machine,
        "web",
        "ResizeDeferred",
        &format!("Pod resize OutOfcpu: {summary}"),
    )
    .await;
    machine.kill().await;
    machine.start().await;
    // It counts with what it was allotted: what fits beside that is admitted.
    bind(&machine, "third", "u3", &asks("1", "64Mi"), json!({}));
    becomes(&machine, "third", "ready", is_ready).await;
    assert!(deferred(&machine.api().get("pods", "web").unwrap()));
    machine.api().delete_gracefully("third", 0);
    machine.api().delete_gracefully("other", 0);
    let object = becomes(&machine, "web", "resized", |object| {
        of_container(object)["resources"]["limits"]["cpu"] == "3"
    })
    .await;
    assert_eq!(condition(&object, "PodResizePending"), None);
    assert_eq!(of_container(&object)["restartCount"], 0);
}

/// Changes the resources of the pod as a whole as a user does.
fn resize_whole(machine: &Machine, resources: &Value, generation: i64) {
    let mut object = machine.api().get("pods", "web").unwrap();
    object["spec"]["resources"] = resources.clone();
    object["metadata"]["generation"] = json!(generation);
    machine.api().write("pods", "web", object);
}

#[tokio::test]
async fn a_pod_gets_more_as_a_whole_and_its_containers_the_new_limit() {
    let mut machine = Machine::joined().await;
    let spec = json!({"resources": asks("500m", "128Mi"), "containers": [{"name": "c", "image": "demo:1"}]});
    machine.api().bind_asking("web", "u1", "demo:1", spec);
    let object = becomes(&machine, "web", "ready", is_ready).await;
    assert_eq!(object["status"]["resources"], asks("500m", "128Mi"));
    assert_eq!(
        object["status"]["allocatedResources"],
        asks("500m", "128Mi")["requests"]
    );
    assert_eq!(limit(&machine), 128 * MIB);
    machine.fake.hold("UpdateContainerResources");
    resize_whole(&machine, &asks("800m", "256Mi"), 2);
    let object = becomes(&machine, "web", "being resized", |object| {
        condition(object, "PodResizeInProgress").is_some()
    })
    .await;
    assert_eq!(object["status"]["resources"], asks("500m", "128Mi"));
    assert_eq!(
        object["status"]["allocatedResources"],
        asks("800m", "256Mi")["requests"]
    );
    machine.kill().await;
    machine.fake.release("UpdateContainerResources");
    machine.start().await;
    let object = becomes(&machine, "web", "resized", |object| {
        condition(object, "PodResizeInProgress").is_none()
    })
    .await;
    assert_eq!(object["status"]["resources"], asks("800m", "256Mi"));
    assert_eq!(of_container(&object)["restartCount"], 0);
    assert_eq!(limit(&machine), 256 * MIB);
    // Less than it uses is not forced upon it.
    machine.fake.world().memory_in_use = 200 << 20;
    resize_whole(&machine, &asks("800m", "192Mi"), 3);
    let object = becomes(&machine, "web", "too small", |object| {
        condition(object, "PodResizeInProgress").is_some_and(|progress| progress["reason"] == "Error")
    })
    .await;
    assert_eq!(object["status"]["resources"], asks("800m", "256Mi"));
    // Nor more than the node has given to it.
    resize_whole(&machine, &asks("900", "256Mi"), 4);
    let object = becomes(&machine, "web", "waiting for room", |object| {
        condition(object, "PodResizePending").is_some_and(|pending| pending["reason"] == "Deferred")
    })
    .await;
    assert_eq!(object["status"]["allocatedResources"]["cpu"], "800m");
}
