//! Others change a pod while it runs, more than once: each change is seen each time, by the loop that acts and by the one
//! that reports.

use std::path::PathBuf;

use gantry::model::report::PodsReport;
use k8s_openapi::api::core::v1 as api;
use serde_json::{Value, json};

use crate::agent::Machine;
use crate::pods::name;

/// What another client writes into the pod, and the result.
struct Change {
    patch: Value,
    effect: Box<dyn Fn(&Seen<'_>) -> bool>,
}

fn change(patch: Value, effect: impl Fn(&Seen<'_>) -> bool + 'static) -> Change {
    let effect = Box::new(effect);
    Change { patch, effect }
}

/// A pod, as everybody sees it.
struct Seen<'a> {
    machine: &'a Machine,
    pod: &'a str,
}

impl Seen<'_> {
    /// As the API server has it.
    fn object(&self) -> Value {
        self.machine.api().get("pods", self.pod).unwrap_or_default()
    }

    fn status(&self) -> Value {
        self.object()["status"].clone()
    }

    /// Status and message of a condition that the API server has.
    fn condition(&self, kind: &str) -> (String, String) {
        let status = self.status();
        let mut conditions = status["conditions"].as_array().into_iter().flatten();
        let found = conditions.find(|condition| condition["type"] == kind);
        let text = |key: &str| found.and_then(|found| found[key].as_str()).unwrap_or_default();
        (text("status").to_owned(), text("message").to_owned())
    }

    /// As the agent reports it.
    fn reported(&self) -> Value {
        let report: std::sync::Arc<PodsReport> = self.machine.report();
        let pod: Option<&std::sync::Arc<api::Pod>> = report.pods.get(&name(self.pod));
        pod.map_or(Value::Null, |pod| json!(**pod))
    }

    /// A file of the volume `v`.
    fn file(&self, file: &str) -> String {
        let dir: PathBuf = self.machine.at.pods().join(format!("uid-{}", self.pod));
        let file = dir.join("volumes/kubernetes.io~downward-api/v").join(file);
        std::fs::read_to_string(file).unwrap_or_default()
    }

    /// The newest container of the pod, with its variable `V`.
    fn container(&self) -> (String, String, String) {
        let world = self.machine.fake.world();
        let Some((id, container)) = world.container(self.pod) else {
            return Default::default();
        };
        let variable = container.config.envs.iter().find(|env| env.key == "V");
        let image = container.config.image.clone().unwrap_or_default();
        let image = world.image(&image.image).map(|image| image.repo_tags[0].clone());
        (
            id.clone(),
            image.unwrap_or_default(),
            variable.map(|env| env.value.clone()).unwrap_or_default(),
        )
    }

    fn is_ready(&self) -> bool {
        self.status()["phase"] == "Running" && self.condition("Ready").0 == "True"
    }
}

/// Runs a pod and has it changed, one change after the effect of the one before.
async fn check(what: &str, spec: Value, changes: Vec<Change>) {
    let machine = Machine::joined().await;
    for image in ["demo:2", "demo:3"] {
        machine.fake.world().add_image(image);
    }
    let pod = "web";
    let more = json!({"containers": [{"name": pod, "image": "demo:1"}]});
    let mut spec = spec;
    for (key, value) in more.as_object().unwrap() {
        if spec[key].is_null() {
            spec[key] = value.clone();
        }
    }
    let uid = format!("uid-{pod}");
    machine.api().bind_asking(pod, &uid, "demo:1", spec);
    let runs = |machine: &Machine| Seen { machine, pod }.condition("ContainersReady").0 == "True";
    machine.until(&format!("{what}: the pod runs"), runs).await;
    for (number, Change { patch, effect }) in changes.into_iter().enumerate() {
        machine.api().patch("pods", pod, &patch);
        let holds = |machine: &Machine| effect(&Seen { machine, pod });
        machine
            .until(&format!("{what}: the effect of change {number}, {patch}"), holds)
            .await;
    }
}

fn gate(gate: &str, status: &str) -> Value {
    let condition = json!({"type": format!("example.org/{gate}"), "status": status});
    json!({"status": {"conditions": [condition]}})
}

/// The pod is ready, or is not for this reason.
fn readiness(message: &'static str) -> impl Fn(&Seen<'_>) -> bool {
    move |seen| {
        let wanted = match message {
            "" => ("True".to_owned(), String::new()),
            message => ("False".to_owned(), message.to_owned()),
        };
        let reported = seen.reported();
        let mut conditions = reported["status"]["conditions"].as_array().into_iter().flatten();
        let is_reported = conditions.any(|c| c["type"] == "Ready" && c["status"] == wanted.0.as_str());
        seen.condition("Ready") == wanted && is_reported
    }
}

#[tokio::test]
async fn readiness_follows_every_gate_each_time_it_is_opened_or_shut() {
    const NO_TWO: &str = "corresponding condition of pod readiness gate \"example.org/two\" does not exist.";
    const ONE_SHUT: &str = "the status of pod readiness gate \"example.org/one\" is not \"True\", but False";
    const BOTH: &str = "the status of pod readiness gate \"example.org/two\" is not \"True\", but Unknown, \
                        the status of pod readiness gate \"example.org/one\" is not \"True\", but False";
    let spec = json!({"readinessGates": [{"conditionType": "example.org/two"}, {"conditionType": "example.org/one"}]});
    let changes = vec![
        change(gate("one", "True"), readiness(NO_TWO)),
        change(gate("two", "True"), readiness("")),
        change(gate("one", "False"), readiness(ONE_SHUT)),
        change(gate("two", "Unknown"), readiness(BOTH)),
        change(gate("two", "True"), readiness(ONE_SHUT)),
        change(gate("one", "True"), readiness("")),
        change(
            json!({"status": {"conditions": [{"type": "example.org/two", "$patch": "delete"}]}}),
            readiness(NO_TWO),
        ),
        change(gate("two", "True"), readiness("")),
    ];
    check("readiness gates", spec, changes).await;
}

/// A pod that shows its labels and annotations in files, and has a variable of a label.
fn downward(image: &str) -> Value {
    let items = json!([
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "annotation", "fieldRef": {"fieldPath": "metadata.annotations['a']"}},
    ]);
    json!({
        "volumes": [{"name": "v", "downwardAPI": {"items": items}}],
        "containers": [{"name": "web", "image": image, "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "env": [{"name": "V", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['l']"}}}]}],
    })
}

#[tokio::test]
async fn labels_and_annotations_reach_the_files_of_a_volume_and_the_next_start_each_time() {
    let label = |value: &str| json!({"metadata": {"labels": {"l": value}}});
    let annotation = |value: &str| json!({"metadata": {"annotations": {"a": value}}});
    let shows_label = |text: &'static str, value: &'static str| {
        move |seen: &Seen<'_>| {
            seen.file("labels") == text && seen.reported()["metadata"]["labels"]["l"] == value
        }
    };
    let shows_annotation = |value: &'static str| {
        move |seen: &Seen<'_>| {
            seen.file("annotation") == value && seen.reported()["metadata"]["annotations"]["a"] == value
        }
    };
    let changes = vec![
        change(label("one"), shows_label("l=\"one\"", "one")),
        change(annotation("one"), shows_annotation("one")),
        change(label("two"), shows_label("l=\"two\"", "two")),
        change(annotation("two"), shows_annotation("two")),
    ];
    check("labels and annotations", downward("demo:1"), changes).await;

    let image = |image: &str| json!({"spec": downward(image)});
    let starts_with = |value: &'static str| move |seen: &Seen<'_>| seen.container().2 == value;
    let changes = vec![
        change(label("one"), shows_label("l=\"one\"", "one")),
        change(image("demo:2"), starts_with("one")),
        change(label("two"), shows_label("l=\"two\"", "two")),
        change(image("demo:3"), starts_with("two")),
    ];
    check("a variable of a label", downward("demo:1"), changes).await;
}

#[tokio::test]
async fn containers_are_added_and_changed_each_time() {
    let added = |names: &[&str]| {
        let added: Vec<Value> = names
            .iter()
            .map(|name| json!({"name": name, "image": "demo:1"}))
            .collect();
        json!({"spec": {"ephemeralContainers": added}})
    };
    let runs = |count: usize| {
        move |seen: &Seen<'_>| {
            let status = seen.status();
            let all = status["ephemeralContainerStatuses"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            all.len() == count && all.iter().all(|status| status["state"]["running"].is_object())
        }
    };
    let changes = vec![
        change(added(&["one"]), runs(1)),
        change(added(&["one", "two"]), runs(2)),
    ];
    check("ephemeral containers", json!({}), changes).await;

    let image = |image: &str| json!({"spec": {"containers": [{"name": "web", "image": image}]}});
    let uses = |image: &'static str| {
        move |seen: &Seen<'_>| {
            let (id, used, _) = seen.container();
            let status = seen.status();
            let id = format!("containerd://{id}");
            used == image && status["containerStatuses"][0]["containerID"] == id && seen.is_ready()
        }
    };
    let changes = vec![
        change(image("demo:2"), uses("demo:2")),
        change(image("demo:3"), uses("demo:3")),
    ];
    check("a container's image", json!({}), changes).await;

    let container = |cpu: &str| {
        let amounts = json!({"cpu": cpu, "memory": "64Mi"});
        json!([{"name": "web", "image": "demo:1", "resources": {"requests": amounts, "limits": amounts}}])
    };
    let resize = |cpu: &str, generation: i64| json!({"metadata": {"generation": generation}, "spec": {"containers": container(cpu)}});
    let has = |cpu: &'static str| {
        move |seen: &Seen<'_>| seen.status()["containerStatuses"][0]["resources"]["limits"]["cpu"] == cpu
    };
    let changes = vec![
        change(resize("200m", 2), has("200m")),
        change(resize("300m", 3), has("300m")),
    ];
    check("resources", json!({"containers": container("100m")}), changes).await;
}

#[tokio::test]
async fn the_time_that_a_pod_has_is_shortened_each_time() {
    let deadline = |seconds: i64| json!({"spec": {"activeDeadlineSeconds": seconds}});
    let changes = vec![
        change(deadline(3600), |seen| {
            seen.reported()["spec"]["activeDeadlineSeconds"] == 3600
        }),
        change(deadline(1), |seen| seen.status()["reason"] == "DeadlineExceeded"),
    ];
    check("activeDeadlineSeconds", json!({}), changes).await;

    let machine = Machine::joined().await;
    machine.api().bind("web", "u", "demo:1");
    let is_ready = |machine: &Machine| Seen { machine, pod: "web" }.is_ready();
    machine.until("ready", is_ready).await;
    machine.fake.hold("StopContainer");
    for (times, grace) in [(1, 1000), (2, 500), (3, 250)] {
        machine.api().delete_gracefully("web", grace);
        machine.called("StopContainer", times).await;
        // A change that does not concern the end does not start it again.
        machine.api().patch(
            "pods",
            "web",
            &json!({"metadata": {"labels": {"l": grace.to_string()}}}),
        );
        let label = grace.to_string();
        let is_seen = |machine: &Machine| {
            let pod = machine.report().pods.get(&name("web")).cloned();
            pod.is_some_and(|pod| {
                pod.metadata.labels.as_ref().and_then(|labels| labels.get("l")) == Some(&label)
            })
        };
        machine.until("the label", is_seen).await;
    }
    machine.fake.release("StopContainer");
    machine
        .until("gone", |machine| machine.api().get("pods", "web").is_none())
        .await;
    let mut graces = machine.fake.world().graces.clone();
    graces.sort_unstable();
    assert_eq!(graces, [250, 500, 1000]);
    assert_eq!(machine.fake.count("StopContainer"), 3);
}

#[tokio::test]
async fn what_others_note_about_a_pod_is_reported_each_time() {
    let toleration = |seconds: i64| json!([{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]);
    let claims = |claim: &str| json!([{"name": "c", "resourceClaimName": claim}]);
    let extended = |claim: &str| json!({"resourceClaimName": claim, "requestMappings": []});
    let condition =
        |message: &str| json!([{"type": "DisruptionTarget", "status": "True", "message": message}]);
    let note = |path: &'static str, value: Value| {
        let keys: Vec<&str> = path.split('.').collect();
        let patch = keys
            .iter()
            .rev()
            .fold(value.clone(), |inner, key| json!({*key: inner}));
        change(patch, move |seen| {
            let reported = seen.reported();
            let found = reported.pointer(&format!("/{}", path.replace('.', "/"))).cloned();
            match path {
                "status.conditions" => found.is_some_and(|found| found[1] == value[0]),
                _ => found == Some(value.clone()),
            }
        })
    };
    let changes = vec![
        note("spec.tolerations", toleration(10)),
        note("spec.tolerations", toleration(5)),
        note("status.nominatedNodeName", json!("one")),
        note("status.nominatedNodeName", json!("two")),
        note("status.resourceClaimStatuses", claims("one")),
        note("status.resourceClaimStatuses", claims("two")),
        note("status.extendedResourceClaimStatus", extended("one")),
        note("status.extendedResourceClaimStatus", extended("two")),
        note("status.conditions", condition("one")),
        note("status.conditions", condition("two")),
        note("metadata.finalizers", json!(["example.org/one"])),
        note("metadata.finalizers", json!(["example.org/two"])),
        note("metadata.generation", json!(2)),
        note("metadata.generation", json!(3)),
        change(json!({}), |seen| seen.status()["observedGeneration"] == 3),
    ];
    check("notes", json!({}), changes).await;
}

#[tokio::test]
async fn what_is_the_nodes_to_say_is_put_right_each_time() {
    let wrong = |key: &str, value: Value| json!({"status": {key: value}});
    let ready = |status: &str| json!([{"type": "Ready", "status": status}]);
    let is_right = |seen: &Seen<'_>| {
        let status = seen.status();
        status["hostIP"] == "192.0.2.1"
            && status["hostIPs"] == json!([{"ip": "192.0.2.1"}])
            && status["qosClass"] == "BestEffort"
            && status["containerStatuses"][0]["restartCount"] == 0
            && status["resourceClaimStatuses"].is_null()
            && seen.is_ready()
    };
    let statuses = |count: i64| json!([{"name": "web", "image": "demo:1", "imageID": "", "ready": true, "restartCount": count}]);
    let mut changes = Vec::new();
    for again in [1, 2] {
        let address = format!("192.0.2.{}", again + 1);
        let addresses = json!({"hostIP": address, "hostIPs": [{"ip": address}]});
        changes.push(change(json!({"status": addresses}), is_right));
        changes.push(change(wrong("phase", json!("Pending")), is_right));
        changes.push(change(wrong("qosClass", json!("Burstable")), is_right));
        changes.push(change(wrong("conditions", ready("False")), is_right));
        changes.push(change(wrong("containerStatuses", statuses(again)), is_right));
    }
    check("the node's own status", json!({}), changes).await;
}

#[tokio::test]
async fn a_pod_whose_end_another_has_written_is_ended() {
    for phase in ["Failed", "Succeeded"] {
        let end = json!({"status": {"phase": phase, "message": "the node was gone"}});
        let is_ended = move |seen: &Seen<'_>| {
            let status = seen.status();
            let nothing_runs = !seen
                .machine
                .fake
                .world()
                .sandboxes
                .values()
                .any(|sandbox| sandbox.ready);
            nothing_runs
                && status["phase"] == phase
                && status["message"] == "the node was gone"
                && status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143
                && seen.condition("Ready").0 == "False"
        };
        check("an end", json!({}), vec![change(end, is_ended)]).await;
    }
}
