//! ConfigMaps and Secrets that pods of an API server refer to.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::agent::Machine;
use crate::fake_api::FakeApi;
use crate::pods::name;

const PAGE: &str = "/api/v1/namespaces/default/configmaps metadata.name=page";
const SECRET: &str = "/api/v1/namespaces/default/secrets metadata.name=s";

/// A pod that shows the ConfigMap `page` as files.
fn with_files(machine: &Machine, pod: &str, uid: &str) {
    let more = json!({
        "volumes": [{"name": "v", "configMap": {"name": "page"}}],
        "containers": [{"name": "c", "image": "demo:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
    });
    machine.api().bind_asking(pod, uid, "demo:1", more);
}

/// A pod with a variable from the Secret `s`.
fn with_variable(machine: &Machine, pod: &str, uid: &str, optional: bool) {
    let from = json!({"secretKeyRef": {"name": "s", "key": "password", "optional": optional}});
    let more =
        json!({"containers": [{"name": "c", "image": "demo:1", "env": [{"name": "P", "valueFrom": from}]}]});
    machine.api().bind_asking(pod, uid, "demo:1", more);
}

fn page(machine: &Machine, text: &str) {
    machine
        .api()
        .write("configmaps", "page", json!({"data": {"index.html": text}}));
}

fn secret(machine: &Machine, text: &str) {
    // The words of these stories are base64 by themselves.
    let data = json!({"data": {"password": text}});
    machine.api().write("secrets", "s", data);
}

fn index(machine: &Machine, uid: &str) -> PathBuf {
    let pod = machine.at.pods().join(uid);
    pod.join("volumes/kubernetes.io~configmap/v/index.html")
}

async fn shows(machine: &Machine, uid: &str, text: &'static str) {
    let index = index(machine, uid);
    machine
        .until(text, |_| {
            std::fs::read_to_string(&index).is_ok_and(|seen| seen == text)
        })
        .await;
}

async fn runs(machine: &Machine, pod: &str) {
    let is = |machine: &Machine| {
        let object = machine.api().get("pods", pod).unwrap();
        object["status"]["phase"] == "Running"
    };
    machine.until(&format!("{pod} runs"), is).await;
}

/// What is published about the one container that waits.
async fn waits(machine: &Machine, pod: &str, reason: &str, message: &str) {
    let is = |machine: &Machine| {
        let object: Value = machine.api().get("pods", pod).unwrap();
        let waiting = &object["status"]["containerStatuses"][0]["state"]["waiting"];
        waiting["reason"] == reason && (message.is_empty() || waiting["message"] == message)
    };
    machine.until(&format!("{pod}: {reason} {message}"), is).await;
}

fn variables(machine: &Machine, pod: &str) -> Vec<String> {
    let world = machine.fake.world();
    let of_pod = |labels: &std::collections::HashMap<String, String>| {
        labels
            .get("io.kubernetes.pod.name")
            .is_some_and(|name| name == pod)
    };
    let found = world
        .containers
        .values()
        .filter(|container| of_pod(&container.config.labels));
    let newest = found.max_by_key(|container| container.config.metadata.as_ref().unwrap().attempt);
    let envs = newest.unwrap().config.envs.iter();
    envs.map(|env| format!("{}={}", env.key, env.value)).collect()
}

#[tokio::test]
async fn a_config_map_is_asked_for_once_and_a_change_reaches_all_its_files() {
    let machine = Machine::joined().await;
    page(&machine, "one");
    with_files(&machine, "web", "u1");
    with_files(&machine, "other", "u2");
    runs(&machine, "web").await;
    runs(&machine, "other").await;
    shows(&machine, "u1", "one").await;
    page(&machine, "two");
    shows(&machine, "u1", "two").await;
    shows(&machine, "u2", "two").await;
    assert_eq!(machine.api().count(&format!("GET {PAGE}")), 1);
    assert_eq!(machine.api().watches(PAGE), 1);
    // Gone, it stays in the files; the watch ends with the last pod.
    machine.api().remove("configmaps", "page");
    for pod in ["web", "other"] {
        machine.api().delete_gracefully(pod, 0);
    }
    machine
        .until("no watch is open", |machine| machine.api().watches(PAGE) == 0)
        .await;
    assert_eq!(machine.fake.count("CreateContainer"), 2);
}

#[tokio::test]
async fn what_is_missing_holds_its_pod_alone_until_it_is_there() {
    let machine = Machine::joined().await;
    with_files(&machine, "web", "u1");
    with_variable(&machine, "secretive", "u2", false);
    with_variable(&machine, "easy", "u3", true);
    runs(&machine, "easy").await;
    assert_eq!(variables(&machine, "easy"), Vec::<String>::new());
    let reason = "CreateContainerConfigError";
    waits(&machine, "secretive", reason, "secret \"s\" not found").await;
    waits(&machine, "web", "ContainerCreating", "").await;
    let said = "MountVolume.SetUp failed for volume \"v\" : configmap \"page\" not found";
    let event = |report: &gantry::model::report::PodsReport| {
        let events = report.events.get(&name("web"))?;
        events
            .iter()
            .any(|event| event.what.reason == "FailedMount" && event.what.message == said)
            .then_some(())
    };
    machine.reported("the event", event).await;
    page(&machine, "here");
    secret(&machine, "word");
    runs(&machine, "web").await;
    runs(&machine, "secretive").await;
    shows(&machine, "u1", "here").await;
    assert_eq!(variables(&machine, "secretive").len(), 1);
}

#[tokio::test]
async fn nothing_starts_before_an_object_is_answered() {
    let machine = Machine::joined().await;
    machine.api().set_silent("configmaps", true);
    with_files(&machine, "web", "u1");
    machine
        .until("it is asked", |machine| {
            machine.api().count(&format!("GET {PAGE}")) == 1
        })
        .await;
    machine.api().bind("plain", "u2", "demo:1");
    runs(&machine, "plain").await;
    assert!(machine.fake.world().sandbox("web").is_none());
    assert!(machine.memory().pods[&name("web")].failures.is_empty());
    page(&machine, "one");
    machine.api().set_silent("configmaps", false);
    runs(&machine, "web").await;
}

#[tokio::test]
async fn a_secret_that_may_not_be_read_is_asked_for_again() {
    let machine = Machine::joined().await;
    secret(&machine, "word");
    machine.api().set_forbidden("secrets", true);
    with_variable(&machine, "web", "u1", true);
    waits(&machine, "web", "CreateContainerConfigError", "Forbidden").await;
    machine.api().set_forbidden("secrets", false);
    runs(&machine, "web").await;
    assert_eq!(variables(&machine, "web").len(), 1);
}

#[tokio::test]
async fn in_an_outage_the_last_values_stay_and_after_it_the_new_ones_come() {
    let machine = Machine::joined().await;
    secret(&machine, "word");
    page(&machine, "one");
    with_variable(&machine, "web", "u1", false);
    with_files(&machine, "files", "u2");
    runs(&machine, "web").await;
    runs(&machine, "files").await;
    let before = variables(&machine, "web");
    machine.api().set_away(true);
    let id = {
        let world = machine.fake.world();
        let web = world
            .containers
            .iter()
            .find(|(_, container)| container.config.labels["io.kubernetes.pod.name"] == "web");
        web.unwrap().0.clone()
    };
    page(&machine, "two");
    machine.api().compact();
    machine.fake.exit(&id, 1);
    machine.called("StartContainer", 3).await;
    assert_eq!(variables(&machine, "web"), before);
    machine.api().set_away(false);
    shows(&machine, "u2", "two").await;
}

#[tokio::test]
async fn what_cannot_change_is_not_watched() {
    let machine = Machine::joined().await;
    let fixed = json!({"data": {"password": "word"}, "immutable": true});
    machine.api().write("secrets", "s", fixed);
    with_variable(&machine, "web", "u1", false);
    runs(&machine, "web").await;
    machine
        .until("no watch is open", |machine| machine.api().watches(SECRET) == 0)
        .await;
    // Another pod takes what is known.
    with_variable(&machine, "other", "u2", false);
    runs(&machine, "other").await;
    assert_eq!(machine.api().count(&format!("GET {SECRET}")), 1);
}

#[tokio::test]
async fn containers_are_told_of_the_services_that_there_are_when_they_start() {
    let mut machine = Machine::new();
    machine.api = Some(FakeApi::start().await);
    machine.api().set_silent("services", true);
    machine.start().await;
    let more =
        json!({"containers": [{"name": "c", "image": "demo:1", "args": ["$(KUBERNETES_SERVICE_HOST)"]}]});
    machine.api().bind_asking("web", "u1", "demo:1", more);
    // A static pod may be what serves the Services.
    machine.write("fixed.yaml", &crate::agent::simple("fixed"));
    machine.running("fixed").await;
    assert!(machine.fake.world().sandbox("web").is_none());
    let spec = json!({"spec": {"clusterIP": "10.0.0.1", "ports": [{"name": "https", "port": 443}]}});
    machine.api().write("services", "kubernetes", spec);
    machine.api().set_silent("services", false);
    runs(&machine, "web").await;
    let reported = variables(&machine, "web");
    assert!(
        reported.contains(&"KUBERNETES_SERVICE_HOST=10.0.0.1".to_owned()),
        "{reported:?}"
    );
    let args = |pod: &str| {
        let world = machine.fake.world();
        let found = world
            .containers
            .values()
            .find(|container| container.config.labels["io.kubernetes.pod.name"] == pod);
        found.unwrap().config.args.clone()
    };
    assert_eq!(args("web"), ["10.0.0.1"]);
    // What appears later is seen by containers that start later, and affects no running one.
    let spec = json!({"spec": {"clusterIP": "10.0.0.2", "ports": [{"port": 80}]}});
    machine.api().write("services", "shop", spec);
    let reported = "SHOP_PORT_80_TCP=tcp://10.0.0.2:80".to_owned();
    // Either watch may be the faster one.
    for round in 0.. {
        let pod = format!("later-{round}");
        machine.api().bind(&pod, &format!("u-{pod}"), "demo:1");
        runs(&machine, &pod).await;
        if variables(&machine, &pod).contains(&reported) {
            break;
        }
        assert!(round < 50, "{:?}", variables(&machine, &pod));
    }
    assert_eq!(machine.fake.count("StopContainer"), 0);
}

#[tokio::test]
async fn while_services_cannot_be_read_a_pod_says_so_and_waits() {
    let mut machine = Machine::new();
    machine.api = Some(FakeApi::start().await);
    machine.api().set_forbidden("services", true);
    machine.start().await;
    machine.api().bind("web", "u1", "demo:1");
    let message = "services have not yet been read at least once, cannot construct envvars";
    waits(&machine, "web", "CreateContainerConfigError", message).await;
    machine.api().set_forbidden("services", false);
    runs(&machine, "web").await;
}
