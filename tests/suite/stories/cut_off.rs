//! A machine that starts again while its API server is away.

use std::path::PathBuf;
use std::time::Duration;

use k8s_cri::v1::ContainerState::ContainerRunning;
use serde_json::{Value, json};

use crate::agent::{Credentials, Machine, keyhole, simple};
use crate::fake_api::FakeApi;

/// Longer than an answer takes on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn file(machine: &Machine) -> PathBuf {
    machine.store().join("pods")
}

fn tolerating(seconds: Value) -> Value {
    json!({"tolerations": [{
        "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
        "tolerationSeconds": seconds,
    }]})
}

/// A pod that takes a variable from the Secret `s`, and one from the ConfigMap `gone` which need not be there.
fn with_variable() -> Value {
    let own = json!({"secretKeyRef": {"name": "s", "key": "password"}});
    let gone = json!({"configMapKeyRef": {"name": "gone", "key": "k", "optional": true}});
    let env = json!([{"name": "P", "valueFrom": own}, {"name": "Q", "valueFrom": gone}]);
    let mut more = tolerating(json!(300));
    more["containers"] = json!([{"name": "c", "image": "demo:1", "env": env}]);
    more["nodeSelector"] = json!({"kubernetes.io/hostname": "node"});
    more
}

/// What is stored, decrypted; empty where nothing is.
fn content(machine: &Machine) -> String {
    let opened = || {
        let sealed = std::fs::read(file(machine)).ok()?;
        let key = keyhole(&machine.store()).key().unwrap()?;
        key.open(&sealed).ok()
    };
    String::from_utf8(opened().unwrap_or_default()).unwrap()
}

async fn stored(machine: &Machine, what: &str, holds: impl Fn(&str) -> bool) {
    machine.until(what, |machine| holds(&content(machine))).await;
}

/// The pods of which a container runs.
fn running(machine: &Machine) -> Vec<String> {
    let world = machine.fake.world();
    let running = world
        .containers
        .values()
        .filter(|container| container.state == ContainerRunning);
    let mut names: Vec<String> = running
        .map(|container| container.config.labels["io.kubernetes.pod.name"].clone())
        .collect();
    names.sort();
    names
}

async fn run(machine: &Machine, pods: &[&str]) {
    machine
        .until(&format!("{pods:?} run"), |machine| running(machine) == pods)
        .await;
}

/// The power goes and comes again: nothing runs, and it is another life of the machine.
async fn reboot(machine: &mut Machine) {
    machine.kill().await;
    {
        let mut world = machine.fake.world();
        world.containers.clear();
        world.sandboxes.clear();
    }
    machine.boot = "second".to_owned();
    machine.start().await;
}

/// A pod's UID as the file has it.
fn uid(uid: &str) -> String {
    format!("\"uid\":\"{uid}\"")
}

/// A machine with three pods, whose file has them.
async fn settled() -> Machine {
    let machine = Machine::joined().await;
    machine
        .api()
        .write("secrets", "s", json!({"data": {"password": "word"}}));
    machine
        .until("node registered", |machine| {
            machine.api().get("nodes", "node").is_some()
        })
        .await;
    machine
        .api()
        .mark_node(json!({"metadata": {"labels": {"kubernetes.io/hostname": "node"}}}));
    machine.api().bind_asking("web", "u1", "demo:1", with_variable());
    machine
        .api()
        .bind_asking("daemon", "u2", "demo:1", tolerating(Value::Null));
    machine.api().bind("hasty", "u3", "demo:1");
    run(&machine, &["daemon", "hasty", "web"]).await;
    stored(&machine, "all is stored", |text| {
        [uid("u1"), uid("u2"), uid("u3")]
            .iter()
            .all(|uid| text.contains(uid))
            && text.contains("\"name\":\"s\"")
            && text.contains("\"name\":\"gone\"")
    })
    .await;
    machine
}

#[tokio::test]
async fn pods_that_are_still_left_to_the_node_start_without_the_api_server() {
    let mut machine = settled().await;
    machine.api().set_away(true);
    // Meanwhile it was decided otherwise about one of them.
    machine.api().remove("pods", "daemon");
    reboot(&mut machine).await;
    run(&machine, &["daemon", "web"]).await;
    {
        let world = machine.fake.world();
        let mut web = world
            .containers
            .values()
            .filter(|container| container.config.labels["io.kubernetes.pod.name"] == "web");
        let envs = &web.next().unwrap().config.envs;
        let names: Vec<_> = envs.iter().map(|env| env.key.as_str()).collect();
        assert_eq!(names, ["P"]);
    }
    // What ends is started again, as ever.
    let id = machine.fake.world().container("c").unwrap().0.clone();
    machine.fake.exit(&id, 1);
    machine.called("StartContainer", 6).await;
    machine.api().set_away(false);
    run(&machine, &["hasty", "web"]).await;
    let created = machine.fake.count("RunPodSandbox");
    assert_eq!(created, 6, "three, two again, and the one that had waited");
    stored(&machine, "what is stored follows", |text| {
        !text.contains(&uid("u2"))
    })
    .await;
}

#[tokio::test]
async fn a_node_whose_credentials_have_ended_starts_what_was_stored_and_converges_when_it_has_others() {
    let mut machine = settled().await;
    machine.kill().await;
    machine.api().remove("pods", "daemon");
    machine.credentials = Credentials::Lacking;
    let asked = machine.api().content().requests.len();
    reboot_again(&mut machine).await;
    run(&machine, &["daemon", "web"]).await;
    assert_eq!(
        machine.api().content().requests.len(),
        asked,
        "nobody could be asked"
    );
    machine.give_credentials();
    run(&machine, &["hasty", "web"]).await;
    let created = machine.fake.count("RunPodSandbox");
    assert_eq!(created, 6, "three, two again, and the one that had waited");
}

#[tokio::test]
async fn with_the_api_server_there_nothing_is_started_from_the_file() {
    let mut machine = settled().await;
    machine.kill().await;
    machine.patience = PATIENCE;
    machine.api().remove("pods", "web");
    let before = machine.fake.count("RunPodSandbox");
    reboot_again(&mut machine).await;
    run(&machine, &["daemon", "hasty"]).await;
    assert_eq!(machine.fake.count("RunPodSandbox"), before + 2);
}

/// A start of the machine after the agent has ended already.
async fn reboot_again(machine: &mut Machine) {
    {
        let mut world = machine.fake.world();
        world.containers.clear();
        world.sandboxes.clear();
    }
    machine.boot = "second".to_owned();
    machine.start().await;
}

#[tokio::test]
async fn what_is_not_in_the_file_is_left_alone_until_the_api_server_tells() {
    let mut machine = settled().await;
    machine.kill().await;
    machine.api().bind("late", "u4", "demo:1");
    // An agent that was killed before it wrote down its last pod: only the file is older than what runs.
    let old = std::fs::read(file(&machine)).unwrap();
    machine.start().await;
    run(&machine, &["daemon", "hasty", "late", "web"]).await;
    machine.kill().await;
    std::fs::write(file(&machine), old).unwrap();
    machine.api().set_away(true);
    machine.start().await;
    // In the same life of the machine all go on.
    machine
        .reported("hasty is told of", |report| {
            report.pods.keys().any(|name| name.name == "hasty").then_some(())
        })
        .await;
    let id = {
        let world = machine.fake.world();
        let of = |pod: &str| {
            let mut all = world
                .containers
                .iter()
                .filter(|(_, own)| own.config.labels["io.kubernetes.pod.name"] == pod);
            all.next().unwrap().0.clone()
        };
        of("hasty")
    };
    let starts = machine.fake.count("StartContainer");
    machine.fake.exit(&id, 1);
    machine.called("StartContainer", starts + 1).await;
    run(&machine, &["daemon", "hasty", "late", "web"]).await;
}

#[tokio::test]
async fn a_static_pod_follows_its_file_all_the_same() {
    let mut machine = settled().await;
    for name in ["early", "late"] {
        machine.write(&format!("{name}.yaml"), &simple(name));
    }
    run(&machine, &["daemon", "early-node", "hasty", "late-node", "web"]).await;
    machine.kill().await;
    machine.api().set_away(true);
    // One file is removed while no agent runs, the other while one runs that has not reached the API server.
    machine.delete("early.yaml");
    machine.start().await;
    run(&machine, &["daemon", "hasty", "late-node", "web"]).await;
    machine.delete("late.yaml");
    run(&machine, &["daemon", "hasty", "web"]).await;
}

#[tokio::test]
async fn a_broken_file_and_one_of_another_cluster_are_set_aside() {
    let mut machine = settled().await;
    machine.kill().await;
    machine.api().set_away(true);
    let sealed = std::fs::read(file(&machine)).unwrap();
    std::fs::write(file(&machine), &sealed[..sealed.len() / 2]).unwrap();
    reboot_again(&mut machine).await;
    let aside = file(&machine).with_extension("set-aside");
    assert!(aside.exists() && !file(&machine).exists());
    let asked = machine.api().count("GET /api/v1/pods");
    machine
        .until("the API server is asked twice", |machine| {
            machine.api().count("GET /api/v1/pods") >= asked + 2
        })
        .await;
    assert_eq!(running(&machine), Vec::<String>::new());
    machine.api().set_away(false);
    run(&machine, &["daemon", "hasty", "web"]).await;
}

#[tokio::test]
async fn an_api_server_that_refuses_the_node_is_no_reason_to_start_anything() {
    let mut machine = settled().await;
    machine.kill().await;
    machine.patience = PATIENCE;
    machine.api().set_forbidden("pods", true);
    reboot_again(&mut machine).await;
    let asked = machine.api().count("GET /api/v1/pods");
    machine
        .until("it is asked twice", |machine| {
            machine.api().count("GET /api/v1/pods") >= asked + 2
        })
        .await;
    assert_eq!(running(&machine), Vec::<String>::new());
    machine.api().set_forbidden("pods", false);
    run(&machine, &["daemon", "hasty", "web"]).await;
}

#[tokio::test]
async fn a_status_alone_is_not_written_down() {
    let machine = settled().await;
    let before = content(&machine);
    let api: &FakeApi = machine.api();
    let mut object = api.get("pods", "web").unwrap();
    object["status"]["message"] = json!("something else");
    api.write("pods", "web", object);
    // What follows is written down, with what came before it.
    api.write("secrets", "s", json!({"data": {"password": "Word"}}));
    stored(&machine, "the new Secret", |text| text != before).await;
    let mut ended = api.get("pods", "hasty").unwrap();
    ended["status"]["phase"] = json!("Failed");
    api.write("pods", "hasty", ended);
    stored(&machine, "without what has ended", |text| {
        !text.contains(&uid("u3"))
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_needs_a_token_waits_for_the_api_server() {
    let mut machine = Machine::joined().await;
    machine.api().write("serviceaccounts", "default", json!({}));
    let mut more = tolerating(Value::Null);
    more["serviceAccountName"] = json!("default");
    let token = json!({"serviceAccountToken": {"path": "token"}});
    more["volumes"] = json!([{"name": "t", "projected": {"sources": [token]}}]);
    machine.api().bind_asking("proven", "u1", "demo:1", more);
    machine
        .api()
        .bind_asking("plain", "u2", "demo:1", tolerating(Value::Null));
    run(&machine, &["plain", "proven"]).await;
    stored(&machine, "both are stored", |text| {
        text.contains(&uid("u1")) && text.contains(&uid("u2"))
    })
    .await;
    let text = content(&machine);
    assert!(!text.contains("geheim") && !text.contains("Z2VoZWlt"));
    machine.api().set_away(true);
    reboot(&mut machine).await;
    run(&machine, &["plain"]).await;
    machine.api().set_away(false);
    run(&machine, &["plain", "proven"]).await;
}

#[tokio::test]
async fn nothing_of_a_secret_lies_readable_in_the_file_and_without_its_key_it_is_nothing() {
    let mut machine = settled().await;
    assert!(content(&machine).contains("word"), "the Secret is in it");
    let sealed = std::fs::read(file(&machine)).unwrap();
    let text = String::from_utf8_lossy(&sealed).into_owned();
    assert!(!text.contains("word") && !text.contains(&uid("u1")), "{text}");
    machine.kill().await;
    machine.api().set_away(true);
    std::fs::remove_file(keyhole(&machine.store()).file).unwrap();
    reboot_again(&mut machine).await;
    assert!(file(&machine).with_extension("set-aside").exists());
    // The node goes on, and has a key again.
    machine.api().set_away(false);
    run(&machine, &["daemon", "hasty", "web"]).await;
    stored(&machine, "all is stored anew", |text| text.contains(&uid("u1"))).await;
}
