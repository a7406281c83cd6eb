//! Tokens of service accounts in the volumes of pods of an API server.

use std::process::Command;

use serde_json::json;

use crate::agent::Machine;
use crate::pods::name;

/// Runs a story once more in user and mount namespaces of its own, where a tmpfs can be mounted without privilege
/// and goes with them. What it was mounted on is removed then, however the story ended. True within them.
pub(super) fn in_own_mounts(story: &str) -> bool {
    const MARK: &str = "GANTRY_STORY_IN_OWN_MOUNTS";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", story, "--nocapture"])
        .env(MARK, "1")
        .env("TMPDIR", directory.path())
        .output()
        .expect("unshare is part of util-linux");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // A name that no story has would be a success, too.
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{story} failed in namespaces of its own: {said}"
    );
    false
}

/// A pod as the API server completes one: with a token, the cluster's certificate and the namespace.
fn with_token(machine: &Machine, pod: &str, uid: &str) {
    let sources = json!([
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"serviceAccountToken": {"path": "vault", "expirationSeconds": 3607, "audience": "vault"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]);
    let mounts = json!([{"name": "access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
    let more = json!({
        "serviceAccountName": "default",
        "volumes": [{"name": "access", "projected": {"sources": sources}}],
        "containers": [{"name": "c", "image": "demo:1", "volumeMounts": mounts}],
    });
    machine.api().bind_asking(pod, uid, "demo:1", more);
}

fn certificate(machine: &Machine) {
    let data = json!({"data": {"ca.crt": "pem"}});
    machine.api().write("configmaps", "kube-root-ca.crt", data);
}

fn account(machine: &Machine) {
    machine.api().write("serviceaccounts", "default", json!({}));
}

fn file(machine: &Machine, uid: &str, file: &str) -> String {
    let pod = machine.at.pods().join(uid);
    let path = pod.join("volumes/kubernetes.io~projected/access").join(file);
    std::fs::read_to_string(path).unwrap_or_default()
}

fn nothing_tells(machine: &Machine) {
    let reported = format!("{:?} {:?}", machine.memory(), machine.report());
    assert!(!reported.contains("geheim"), "{reported}");
    let calls = format!("{:?}", machine.deeds());
    assert!(!calls.contains("geheim"), "{calls}");
}

#[tokio::test]
async fn a_pod_gets_its_tokens_and_new_ones_before_they_end() {
    if !in_own_mounts("stories::cluster_tokens::a_pod_gets_its_tokens_and_new_ones_before_they_end") {
        return;
    }
    let machine = Machine::joined().await;
    machine.api().content().token_life = Some(10);
    account(&machine);
    certificate(&machine);
    with_token(&machine, "web", "u1");
    machine
        .until("it runs", |machine| {
            machine.api().get("pods", "web").unwrap()["status"]["phase"] == "Running"
        })
        .await;
    let first = file(&machine, "u1", "token");
    assert!(first.starts_with("geheim-default-"), "{first}");
    assert!(file(&machine, "u1", "vault").starts_with("geheim-vault-"));
    assert_eq!(
        (file(&machine, "u1", "ca.crt"), file(&machine, "u1", "namespace")),
        ("pem".to_owned(), "default".to_owned())
    );
    machine
        .until("a new token", |machine| {
            let now = file(machine, "u1", "token");
            now.starts_with("geheim-default-") && now != first
        })
        .await;
    nothing_tells(&machine);
    assert_eq!(machine.fake.count("CreateContainer"), 1);
    // Nobody asks for a pod that has gone.
    machine.api().delete_gracefully("web", 0);
    machine
        .until("it is gone", |machine| machine.api().get("pods", "web").is_none())
        .await;
    machine
        .until("no directory", |machine| !machine.at.pods().join("u1").exists())
        .await;
}

#[tokio::test]
async fn without_its_service_account_a_pod_waits_and_the_next_one_does_not() {
    if !in_own_mounts(
        "stories::cluster_tokens::without_its_service_account_a_pod_waits_and_the_next_one_does_not",
    ) {
        return;
    }
    let machine = Machine::joined().await;
    certificate(&machine);
    with_token(&machine, "web", "u1");
    let said = "MountVolume.SetUp failed for volume \"access\" : failed to fetch token: NotFound";
    let event = |report: &gantry::model::report::PodsReport| {
        let events = report.events.get(&name("web"))?;
        let is = |event: &gantry::model::event::RecordedEvent| {
            event.what.reason == "FailedMount" && event.what.message == said
        };
        events.iter().any(is).then_some(())
    };
    machine.reported("the event", event).await;
    machine.api().bind("plain", "u2", "demo:1");
    machine
        .until("another pod runs", |machine| {
            machine.api().get("pods", "plain").unwrap()["status"]["phase"] == "Running"
        })
        .await;
    assert!(machine.fake.world().sandbox("web").is_none());
    account(&machine);
    machine
        .until("tokens", |machine| machine.api().content().tokens >= 2)
        .await;
    nothing_tells(&machine);
}
