//! The machine is a node of an API server: its pods come from there, and their status is published there.

use gantry::model::report::PodsReport;
use serde_json::{Value, json};
use tonic::Status;

use crate::agent::{Machine, is_ready, simple};
use crate::pods::name;

fn phase(object: &Value) -> &str {
    object["status"]["phase"].as_str().unwrap_or_default()
}

/// Waits until an object of the API server is so.
async fn becomes(
    machine: &Machine,
    kind: &'static str,
    name: &str,
    what: &str,
    holds: fn(&Value) -> bool,
) -> Value {
    let look = |machine: &Machine| machine.api().get(kind, name).is_some_and(|object| holds(&object));
    machine.until(&format!("{kind} {name}: {what}"), look).await;
    machine.api().get(kind, name).unwrap()
}

async fn runs(machine: &Machine, name: &str) -> Value {
    becomes(machine, "pods", name, "running", |object| {
        phase(object) == "Running"
    })
    .await
}

#[tokio::test]
async fn a_pod_of_the_api_runs_and_others_conditions_stay() {
    let machine = Machine::joined().await;
    machine.api().bind("web", "u1", "demo:1");
    let object = runs(&machine, "web").await;
    assert_eq!(object["metadata"]["uid"], "u1");
    let conditions = object["status"]["conditions"].as_array().unwrap();
    assert!(
        conditions
            .iter()
            .any(|condition| condition["type"] == "example.org/own")
    );
    assert!(conditions.iter().any(|condition| condition["type"] == "Ready"));
}

/// Found by the simulation: a pod that an earlier agent had started, and of which a status could not be read, was
/// reported as failed and removed from the API server while it ran.
#[tokio::test]
async fn a_pod_that_cannot_be_read_after_a_start_is_not_taken_for_gone() {
    let mut machine = Machine::joined().await;
    machine.api().bind("web", "u1", "demo:1");
    runs(&machine, "web").await;
    machine.kill().await;
    let patch = "PATCH /api/v1/namespaces/default/pods/web/status";
    let patches = machine.api().count(patch);
    machine
        .fake
        .fail("ContainerStatus", usize::MAX, Status::unknown("no task service"));
    let asked = machine.fake.count("ContainerStatus");
    machine.start().await;
    machine.called("ContainerStatus", asked + 2).await;
    assert_eq!(machine.fake.count("RunPodSandbox"), 1);
    assert_eq!(machine.api().count(patch), patches);
    let removal = "DELETE /api/v1/namespaces/default/pods/web";
    assert_eq!(machine.api().count(removal), 0);
    machine.fake.world().failures.clear();
    let web = name("web");
    let known = |report: &PodsReport| report.pods.get(&web).filter(|pod| is_ready(pod)).cloned();
    machine.reported("the pod, when it can be read", known).await;
    assert_eq!(machine.fake.count("RunPodSandbox"), 1);
    assert_eq!(machine.api().count(removal), 0);
}

#[tokio::test]
async fn a_deletion_is_finished_when_nothing_runs_any_more() {
    let machine = Machine::joined().await;
    machine.api().bind("web", "u1", "demo:1");
    runs(&machine, "web").await;
    machine.fake.hold("StopContainer");
    machine.api().delete_gracefully("web", 5);
    machine.called("StopContainer", 1).await;
    assert_eq!(
        machine.api().count("DELETE /api/v1/namespaces/default/pods/web"),
        0
    );
    machine.fake.release("StopContainer");
    machine
        .until("the pod is gone", |machine| {
            machine.api().get("pods", "web").is_none()
        })
        .await;
    // What is left of it in the runtime goes too.
    machine
        .becomes("no sandbox", |fake| fake.world().sandboxes.is_empty())
        .await;
    assert_eq!(
        machine.api().count("DELETE /api/v1/namespaces/default/pods/web"),
        1
    );
}

#[tokio::test]
async fn a_static_pod_has_one_image_that_comes_back_and_goes_with_it() {
    let machine = Machine::joined().await;
    machine.write("web.yaml", &simple("web"));
    let first = runs(&machine, "web-node").await;
    let annotations = &first["metadata"]["annotations"];
    assert_eq!(
        annotations["kubernetes.io/config.mirror"],
        annotations["kubernetes.io/config.hash"]
    );
    let node = machine.api().get("nodes", "node").unwrap();
    let owner = &first["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["uid"]),
        (&json!("Node"), &node["metadata"]["uid"])
    );
    machine.api().remove("pods", "web-node");
    let second = runs(&machine, "web-node").await;
    assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"]);
    machine.delete("web.yaml");
    machine
        .until("the image is gone", |machine| {
            machine.api().get("pods", "web-node").is_none()
        })
        .await;
    assert_eq!(machine.fake.count("RunPodSandbox"), 1);
}

#[tokio::test]
async fn the_image_of_a_static_pod_that_was_rejected_and_runs_later_runs_too() {
    let machine = Machine::joined().await;
    let big = |pod: &str| {
        let container = "name: c, image: demo:1, resources: {requests: {cpu: 3}}";
        crate::agent::manifest(pod, "", &[container])
    };
    machine.write("a.yaml", &big("a"));
    runs(&machine, "a-node").await;
    machine.write("b.yaml", &big("b"));
    let is_rejected = |object: &Value| object["status"]["reason"] == "UnexpectedAdmissionError";
    becomes(&machine, "pods", "b-node", "rejected", is_rejected).await;
    machine.delete("a.yaml");
    let second = runs(&machine, "b-node").await;
    assert!(second["status"]["reason"].is_null());
}

/// The UID that a mirror pod has in the API server, and the one of the static pod that it is the image of.
fn mirror(machine: &Machine, name: &str) -> (Value, Value) {
    let object = machine.api().get("pods", name).unwrap_or_default();
    let metadata = &object["metadata"];
    (
        metadata["uid"].clone(),
        metadata["annotations"]["kubernetes.io/config.mirror"].clone(),
    )
}

#[tokio::test]
async fn a_static_pod_that_is_replaced_or_removed_keeps_its_mirror_until_nothing_of_it_is_left() {
    let other = crate::agent::manifest("web", "", &["name: d, image: demo:1"]);
    for (replaced, restarted) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut machine = Machine::joined().await;
        machine.write("web.yaml", &simple("web"));
        let ready = |object: &Value| {
            let conditions = object["status"]["conditions"].as_array();
            conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
        };
        let before = becomes(&machine, "pods", "web-node", "ready", ready).await;
        let old = mirror(&machine, "web-node");
        machine.fake.hold("StopContainer");
        if restarted {
            machine.kill().await;
        }
        match replaced {
            true => machine.write("web.yaml", &other),
            false => machine.delete("web.yaml"),
        }
        if restarted {
            machine.start().await;
        }
        machine.called("StopContainer", 1).await;
        // The mirror of a pod that came later is there: mirrors have been looked at since.
        machine.write("later.yaml", &simple("later"));
        let there = |machine: &Machine| machine.api().get("pods", "later-node").is_some();
        machine.until("the mirror of a pod that came later", there).await;
        assert_eq!(
            mirror(&machine, "web-node"),
            old,
            "replaced {replaced}, restarted {restarted}"
        );
        let containers = &machine.api().get("pods", "web-node").unwrap()["status"]["containerStatuses"];
        assert_eq!(containers, &before["status"]["containerStatuses"]);
        machine.fake.release("StopContainer");
        if !replaced {
            let gone = |machine: &Machine| machine.api().get("pods", "web-node").is_none();
            machine.until("the mirror gone", gone).await;
            continue;
        }
        let new =
            |object: &Value| object["spec"]["containers"][0]["name"] == "d" && phase(object) == "Running";
        becomes(&machine, "pods", "web-node", "the new one", new).await;
        let now = mirror(&machine, "web-node");
        assert!(now.0 != old.0 && now.1 != old.1);
        assert_eq!(
            machine
                .api()
                .count("DELETE /api/v1/namespaces/default/pods/web-node"),
            1
        );
    }
}

#[tokio::test]
async fn an_outage_is_sat_out_and_what_happened_meanwhile_is_told_after_it() {
    let machine = Machine::joined().await;
    machine.api().bind("web", "u1", "demo:1");
    runs(&machine, "web").await;
    machine.api().set_away(true);
    let id = machine.fake.world().container("c").unwrap().0.clone();
    machine.fake.exit(&id, 1);
    machine.called("StartContainer", 2).await;
    machine.api().compact();
    machine.api().set_away(false);
    let restarted = |object: &Value| object["status"]["containerStatuses"][0]["restartCount"] == 1;
    becomes(&machine, "pods", "web", "told as restarted", restarted).await;
    assert_eq!(machine.fake.world().sandboxes.len(), 1);
}

#[tokio::test]
async fn the_node_is_registered_and_made_again_and_its_lease_renewed() {
    let machine = Machine::joined().await;
    let ready = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready"))
    };
    let first = becomes(&machine, "nodes", "node", "registered", ready).await;
    machine.api().remove("nodes", "node");
    machine
        .until("made again", |machine| {
            let node = machine.api().get("nodes", "node");
            node.is_some_and(|node| node["metadata"]["uid"] != first["metadata"]["uid"])
        })
        .await;
    let owned = |object: &Value| object["metadata"]["ownerReferences"][0]["kind"] == "Node";
    let lease = becomes(&machine, "leases", "node", "owned by the node", owned).await;
    assert_eq!(lease["spec"]["holderIdentity"], "node");
    machine
        .until("renewed", |machine| {
            let now = machine.api().get("leases", "node").unwrap();
            now["spec"]["renewTime"] != lease["spec"]["renewTime"]
        })
        .await;
}

#[tokio::test]
async fn an_agent_that_begins_over_running_pods_says_nothing_new() {
    let mut machine = Machine::joined().await;
    machine.api().bind("web", "u1", "demo:1");
    let ready = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
    };
    let before = becomes(&machine, "pods", "web", "ready", ready).await;
    let patches = |machine: &Machine| {
        machine
            .api()
            .count("PATCH /api/v1/namespaces/default/pods/web/status")
    };
    let reported = patches(&machine);
    assert!(reported > 0);
    machine.kill().await;
    // It knows what is wanted long before it knows what is.
    machine.fake.hold("ListPodSandbox");
    let asked = |machine: &Machine| machine.api().count("WATCH /api/v1/pods");
    let before_it = asked(&machine);
    machine.start().await;
    // The list and the watch after it: what is wanted is known.
    machine
        .until("the pods to be asked for", |machine| asked(machine) > before_it)
        .await;
    machine.fake.release("ListPodSandbox");
    machine.api().bind("second", "u2", "demo:1");
    runs(&machine, "second").await;
    assert_eq!(patches(&machine), reported);
    assert_eq!(
        machine.api().get("pods", "web").unwrap()["status"],
        before["status"]
    );
}

#[tokio::test]
async fn another_pod_of_the_same_name_waits_for_the_end_of_the_first() {
    let machine = Machine::joined().await;
    machine.api().bind("web", "u1", "demo:1");
    runs(&machine, "web").await;
    machine.api().remove("pods", "web");
    machine.api().bind("web", "u2", "demo:1");
    let object = runs(&machine, "web").await;
    assert_eq!(object["metadata"]["uid"], "u2");
    machine
        .becomes("one sandbox", |fake| fake.world().sandboxes.len() == 1)
        .await;
}

/// What the control plane does about a node that is shut down without a word (`node.kubernetes.io/out-of-service`).
#[tokio::test]
async fn a_pod_that_was_deleted_by_force_while_the_node_was_away_goes_when_it_is_back() {
    let mut machine = Machine::joined().await;
    machine.api().bind("web", "u1", "demo:1");
    machine.api().bind("kept", "u2", "demo:1");
    runs(&machine, "web").await;
    runs(&machine, "kept").await;
    becomes(&machine, "nodes", "node", "registered", |_| true).await;
    machine.kill().await;
    let taint =
        json!({"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"});
    machine.api().mark_node(json!({"spec": {"taints": [taint]}}));
    machine.api().remove("pods", "web");
    machine.start().await;
    machine
        .becomes("one sandbox", |fake| fake.world().sandboxes.len() == 1)
        .await;
    machine
        .until("nothing of it is on disk", |machine| {
            !machine.at.pods().join("u1").exists()
        })
        .await;
    assert!(machine.fake.world().sandbox("kept").is_some());
    runs(&machine, "kept").await;
    // It may come back under its name.
    // The taint is still there: the node may hear of its removal after the pod, and would reject it.
    let tolerant = json!({"tolerations": [{"operator": "Exists"}]});
    machine.api().bind_asking("web", "u3", "demo:1", tolerant);
    assert_eq!(runs(&machine, "web").await["metadata"]["uid"], "u3");
}

#[tokio::test]
async fn a_pod_that_does_not_fit_has_failed_for_good() {
    let mut machine = Machine::joined().await;
    let asks = |cpu: &str| json!({"containers": [{"name": "c", "image": "demo:1", "resources": {"requests": {"cpu": cpu}}}]});
    machine.api().bind_asking("big", "u1", "demo:1", asks("3"));
    runs(&machine, "big").await;
    machine.api().bind_asking("second", "u2", "demo:1", asks("2"));
    let failed = |object: &Value| phase(object) == "Failed";
    let object = becomes(&machine, "pods", "second", "refused", failed).await;
    assert_eq!(object["status"]["reason"], "OutOfcpu");
    assert_eq!(
        object["status"]["message"],
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 2000, used: 3000, capacity: 4000"
    );
    // There is room then, also for an agent that knows nothing of the refusal.
    machine.api().delete_gracefully("big", 0);
    machine
        .until("big is gone", |machine| {
            machine.api().get("pods", "big").is_none()
        })
        .await;
    machine.kill().await;
    machine.start().await;
    machine.api().bind("third", "u3", "demo:1");
    runs(&machine, "third").await;
    assert_eq!(phase(&machine.api().get("pods", "second").unwrap()), "Failed");
    assert!(machine.fake.world().sandbox("second").is_none());
}

#[tokio::test]
async fn a_pod_for_another_node_has_failed_and_labels_may_come_a_little_late() {
    let machine = Machine::joined().await;
    becomes(&machine, "nodes", "node", "registered", |_| true).await;
    let asks = || json!({"nodeSelector": {"disk": "ssd"}});
    machine.api().bind_asking("early", "u1", "demo:1", asks());
    let failed = |object: &Value| phase(object) == "Failed";
    let object = becomes(&machine, "pods", "early", "refused", failed).await;
    assert_eq!(object["status"]["reason"], "NodeAffinity");
    assert_eq!(
        object["status"]["message"],
        "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
    );
    let event = |report: &gantry::model::report::PodsReport| {
        let events = report.events.get(&crate::pods::name("early"))?;
        let is = |event: &gantry::model::event::RecordedEvent| {
            event.what.reason == "NodeAffinity"
                && event.what.message.starts_with("Predicate NodeAffinity failed: ")
        };
        events.iter().any(is).then_some(())
    };
    machine.reported("the event", event).await;
    // A rejected pod is reported once and without what it never had.
    let status = &object["status"];
    assert!(
        status["hostIP"].is_null() && status["containerStatuses"].is_null(),
        "{status}"
    );
    // The pod is seen first, as it may be by another watch.
    let mut late = asks();
    late["containers"] = json!([{"name": "c", "image": "demo:1", "envFrom": [{"configMapRef": {"name": "x", "optional": true}}]}]);
    machine.api().bind_asking("web", "u2", "demo:1", late);
    machine
        .until("it is seen", |machine| {
            machine
                .api()
                .count("GET /api/v1/namespaces/default/configmaps metadata.name=x")
                > 0
        })
        .await;
    machine
        .api()
        .mark_node(json!({"metadata": {"labels": {"disk": "ssd"}}}));
    runs(&machine, "web").await;
    let taint = json!([{"key": "k", "effect": "NoExecute"}]);
    machine
        .api()
        .mark_node(json!({"spec": {"taints": taint}, "metadata": {"labels": {"tainted": "yes"}}}));
    // By the label it is known that the taint is known.
    let tainted = json!({"nodeSelector": {"tainted": "yes"}});
    machine
        .api()
        .bind_asking("intolerant", "u3", "demo:1", tainted.clone());
    let object = becomes(&machine, "pods", "intolerant", "refused", failed).await;
    assert_eq!(object["status"]["reason"], "TaintToleration");
    let mut tolerant = tainted;
    tolerant["tolerations"] = json!([{"operator": "Exists"}]);
    machine.api().bind_asking("tolerant", "u4", "demo:1", tolerant);
    runs(&machine, "tolerant").await;
    // What runs is not ended by it: that is the work of a controller.
    assert_eq!(phase(&machine.api().get("pods", "web").unwrap()), "Running");
}

#[tokio::test]
async fn what_runs_of_a_pod_that_this_version_refuses_is_left_alone() {
    let mut machine = Machine::joined().await;
    machine.api().bind("odd", "u1", "demo:1");
    runs(&machine, "odd").await;
    machine.kill().await;
    // As if another agent, which can do more, had started it.
    let more = json!({"resourceClaims": [{"name": "gpu"}]});
    machine.api().bind_asking("odd", "u1", "demo:1", more);
    machine.start().await;
    machine.api().bind("web", "u2", "demo:1");
    runs(&machine, "web").await;
    machine.api().delete_gracefully("web", 0);
    machine
        .becomes("one sandbox", |fake| fake.world().sandboxes.len() == 1)
        .await;
    assert!(machine.fake.world().sandbox("odd").is_some());
    assert!(machine.at.pods().join("u1").exists());
    // Nobody wants it any more.
    machine.api().remove("pods", "odd");
    machine
        .becomes("no sandbox", |fake| fake.world().sandboxes.is_empty())
        .await;
}

#[tokio::test]
async fn a_pod_that_asks_for_what_is_not_there_stays_pending_and_can_be_deleted() {
    let machine = Machine::joined().await;
    let more = json!({"resourceClaims": [{"name": "gpu"}]});
    machine.api().bind_asking("odd", "u1", "demo:1", more);
    machine.api().bind("web", "u2", "demo:1");
    runs(&machine, "web").await;
    let problem =
        |report: &gantry::model::report::PodsReport| report.problems.first().map(ToString::to_string);
    assert_eq!(
        machine.reported("the problem", problem).await,
        "API server: pod default/odd: spec.resourceClaims: is not supported by this version of gantry yet"
    );
    assert_eq!(phase(&machine.api().get("pods", "odd").unwrap()), "Pending");
    machine.api().delete_gracefully("odd", 30);
    machine
        .until("odd is gone", |machine| {
            machine.api().get("pods", "odd").is_none()
        })
        .await;
}

fn container(machine: &Machine) -> String {
    machine.fake.world().container("c").unwrap().0.clone()
}

/// The Events about an object, as `type reason ×count part`, in the order of their reasons.
fn told_events(machine: &Machine, about: &str) -> Vec<String> {
    let events = machine.api().all("events");
    let mut reported: Vec<String> = events
        .iter()
        .filter(|event| event["involvedObject"]["name"] == about)
        .map(|event| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            format!(
                "{} {} ×{} {}",
                text(&event["type"]),
                text(&event["reason"]),
                event["count"],
                text(&event["involvedObject"]["fieldPath"])
            )
        })
        .collect();
    reported.sort();
    reported
}

#[tokio::test]
async fn what_happens_is_told_as_events_and_the_same_is_counted() {
    let machine = Machine::joined().await;
    machine.api().bind("web", "u1", "demo:1");
    let object = runs(&machine, "web").await;
    let want =
        ["Created", "Pulled", "Started"].map(|reason| format!("Normal {reason} ×1 spec.containers{{c}}"));
    machine
        .until("the Events of a start", |machine| {
            told_events(machine, "web") == want
        })
        .await;
    let events = machine.api().all("events");
    let started = events.iter().find(|event| event["reason"] == "Started").unwrap();
    assert_eq!(started["involvedObject"]["uid"], object["metadata"]["uid"]);
    assert_eq!(started["message"], "Container started");
    assert_eq!(started["source"], json!({"component": "kubelet", "host": "node"}));

    // Another start of the same container is the same again.
    machine.fake.exit(&container(&machine), 1);
    machine
        .until("the Events of a restart", |machine| {
            let reported = told_events(machine, "web");
            reported.contains(&"Normal Started ×2 spec.containers{c}".to_owned())
        })
        .await;
    let node = [
        "NodeHasNoDiskPressure",
        "NodeHasSufficientMemory",
        "NodeHasSufficientPID",
        "Starting",
    ];
    machine
        .until("the node's Events", |machine| {
            let reported = told_events(machine, "node");
            node.iter()
                .all(|reason| reported.contains(&format!("Normal {reason} ×1 ")))
        })
        .await;
}

#[tokio::test]
async fn an_event_that_is_gone_is_made_again_when_it_happens_again() {
    let machine = Machine::joined().await;
    machine.api().bind("web", "u1", "demo:1");
    runs(&machine, "web").await;
    let started = |machine: &Machine| {
        let events = machine.api().all("events");
        let started = events.into_iter().find(|event| event["reason"] == "Started");
        started.map(|event| event["metadata"]["name"].as_str().unwrap().to_owned())
    };
    machine
        .until("the Event", |machine| started(machine).is_some())
        .await;
    machine.api().remove("events", &started(&machine).unwrap());
    machine.fake.exit(&container(&machine), 1);
    machine
        .until("the Event again", |machine| started(machine).is_some())
        .await;
    let reported = told_events(&machine, "web");
    assert!(
        reported.contains(&"Normal Started ×2 spec.containers{c}".to_owned()),
        "{reported:?}"
    );
}
