//! Images that a registry gives only to those who say who they are.

use std::time::Duration;

use gantry::act::credential_provider::Providers;
use gantry::model::credential_provider::{Provider, VERSIONS};
use gantry::model::pull_policy::Verification;
use serde_json::json;

use crate::agent::{Machine, is_ready, manifest, message, state};
use crate::pods::name;

const IMAGE: &str = "registry.example.com/team/app:1";

fn config(password: &str) -> String {
    json!({"auths": {"registry.example.com/team": {"username": "ann", "password": password}}}).to_string()
}

/// The machine's registry asks for `ann` and `right`.
fn guard(machine: &Machine) {
    let mut world = machine.fake.world();
    world.registry.insert(IMAGE.to_owned());
    let asked = ("ann".to_owned(), "right".to_owned());
    world.passwords.insert(IMAGE.to_owned(), asked);
}

fn secret(password: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: login}}\ntype: kubernetes.io/dockerconfigjson\n\
         stringData:\n  .dockerconfigjson: '{}'\n",
        config(password)
    )
}

/// A pod of this name with the image, pulled by this policy, and with the Secret or without.
fn tenant(name: &str, spec: &str, pull: &str) -> String {
    let container = format!("name: c, image: '{IMAGE}', imagePullPolicy: {pull}");
    manifest(name, spec, &[&container])
}

const WITH_SECRET: &str = "imagePullSecrets: [{name: login}]";

fn pod() -> String {
    let container = format!("name: c, image: '{IMAGE}'");
    manifest("web", "imagePullSecrets: [{name: login}]", &[&container])
}

#[tokio::test]
async fn a_secret_beside_the_manifest_opens_the_registry_when_it_is_right() {
    let machine = Machine::started().await;
    guard(&machine);
    machine.write("web.yaml", &pod());
    let refused = machine
        .pod_told("web", "the refusal", |pod| {
            state(pod, "c") == "Waiting: ErrImagePull"
        })
        .await;
    assert_eq!(message(&refused, "c"), format!("{IMAGE}: 401 Unauthorized"));
    let warning =
        "Unable to retrieve some image pull secrets (login); attempting to pull the image may not succeed.";
    let event = |report: &gantry::model::report::PodsReport| {
        let mut events = report.events.values().flat_map(|events| events.iter());
        events
            .any(|event| {
                event.what.reason == "FailedToRetrieveImagePullSecret" && event.what.message == warning
            })
            .then_some(())
    };
    machine.reported("the event", event).await;
    // None where there was none, and then the wrong one.
    machine.write("secret.yaml", &secret("wrong"));
    machine.called("PullImage", 2).await;
    machine
        .pod_told("web", "the back-off", |pod| {
            state(pod, "c") == "Waiting: ImagePullBackOff" || state(pod, "c") == "Waiting: ErrImagePull"
        })
        .await;
    // A Secret that has changed is not kept waiting by the back-off.
    machine.write("secret.yaml", &secret("right"));
    machine.running("web").await;
    let ann = || Some("ann".to_owned());
    assert_eq!(machine.fake.world().pulled_by, [None, ann(), ann()]);
}

#[tokio::test]
async fn the_nodes_own_configuration_comes_after_the_pods() {
    let machine = Machine::started().await;
    guard(&machine);
    std::fs::write(machine.at.root.path().join("config.json"), config("right")).unwrap();
    machine.write("web.yaml", &format!("{}---\n{}", secret("wrong"), pod()));
    machine.running("web").await;
    assert_eq!(machine.fake.world().pulled_by.len(), 2);
}

#[tokio::test]
async fn a_program_that_has_credentials_is_asked_for_its_images_after_all_others() {
    let mut machine = Machine::new();
    let answer = json!({"kind": "CredentialProviderResponse", "apiVersion": VERSIONS[0], "cacheKeyType": "Registry",
        "auth": {"registry.example.com/team": {"username": "ann", "password": "right"}}});
    let asked = machine.at.root.path().join("asked");
    let script = format!("cat >> {}; echo '{answer}'", asked.display());
    machine.providers = Providers::new(vec![Provider {
        name: "login".to_owned(),
        program: "/bin/sh".into(),
        api_version: VERSIONS[0].to_owned(),
        images: vec!["*.example.com".to_owned()],
        holds: Duration::from_secs(3600),
        arguments: vec!["-c".to_owned(), script],
        environment: Vec::new(),
    }]);
    machine.start().await;
    machine
        .becomes("a subscriber to events", |fake| fake.has_subscriber())
        .await;
    guard(&machine);
    machine.write("web.yaml", &format!("{}---\n{}", secret("wrong"), pod()));
    machine.running("web").await;
    assert_eq!(machine.fake.world().pulled_by.len(), 2);
    machine.write("other.yaml", &pod().replace("name: web", "name: other"));
    machine.running("other").await;
    let asked = std::fs::read_to_string(asked).unwrap();
    let asked: Vec<&str> = asked.lines().collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked[0].contains("\"image\":\"registry.example.com/team/app\""),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_secret_of_the_api_server_is_waited_for_and_one_that_is_missing_is_not() {
    let machine = Machine::joined().await;
    guard(&machine);
    let encoded = |text: &str| serde_json::to_value(k8s_openapi::ByteString(text.into())).unwrap();
    let data = json!({
        "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": encoded(&config("right"))},
    });
    machine.api().write("secrets", "login", data);
    let more = |secrets: serde_json::Value| json!({"imagePullSecrets": secrets});
    let both = more(json!([{"name": "gone"}, {"name": "login"}]));
    machine.api().bind_asking("web", "u1", IMAGE, both);
    let runs = |report: &gantry::model::report::PodsReport| {
        report
            .pods
            .get(&name("web"))
            .is_some_and(|pod| is_ready(pod))
            .then_some(())
    };
    machine.reported("web runs", runs).await;
    assert_eq!(machine.fake.world().pulled_by, [Some("ann".to_owned())]);
    machine
        .api()
        .bind_asking("lost", "u2", "demo:1", more(json!([{"name": "gone"}])));
    machine.called("StartContainer", 2).await;
}

#[tokio::test]
async fn another_pods_private_image_is_had_with_credentials_alone() {
    let mut machine = Machine::started().await;
    guard(&machine);
    machine.write("web.yaml", &format!("{}---\n{}", secret("right"), pod()));
    machine.running("web").await;
    let refused = async |machine: &Machine, name: &str, reason: &str, why: &str| {
        let state_is = format!("Waiting: {reason}");
        let reported = machine
            .pod_told(name, &state_is, |pod| state(pod, "c") == state_is)
            .await;
        assert_eq!(message(&reported, "c"), why, "{name}");
    };
    let unauthorized = format!("{IMAGE}: 401 Unauthorized");
    let absent = format!("Container image \"{IMAGE}\" is not present with pull policy of Never");
    machine.write("other.yaml", &tenant("other", "", "IfNotPresent"));
    refused(&machine, "other", "ErrImagePull", &unauthorized).await;
    machine.write("never.yaml", &tenant("never", "", "Never"));
    refused(&machine, "never", "ErrImageNeverPull", &absent).await;
    // Whoever has what opened the registry gets the image, and the registry is not asked.
    machine.write("never-with.yaml", &tenant("never-with", WITH_SECRET, "Never"));
    machine.running("never-with").await;
    let pulls_with_credentials = |machine: &Machine| {
        let world = machine.fake.world();
        world.pulled_by.iter().flatten().count()
    };
    assert_eq!(pulls_with_credentials(&machine), 1);
    // It was written down: the next agent knows it too.
    machine.kill().await;
    machine.start().await;
    machine.write("late.yaml", &tenant("late", "", "Never"));
    refused(&machine, "late", "ErrImageNeverPull", &absent).await;
    machine.write(
        "late-with.yaml",
        &tenant("late-with", WITH_SECRET, "IfNotPresent"),
    );
    machine.running("late-with").await;
    assert_eq!(pulls_with_credentials(&machine), 1);
    // No registry is asked for an image that was not pulled.
    machine.write("demo.yaml", &manifest("demo", "", &["name: c, image: 'demo:1'"]));
    machine.running("demo").await;
}

#[tokio::test]
async fn what_is_on_the_node_is_anybodys_where_nothing_is_verified() {
    let mut machine = Machine::new();
    machine.verification = Some(Verification::Never);
    machine.start().await;
    guard(&machine);
    machine.write("web.yaml", &format!("{}---\n{}", secret("right"), pod()));
    machine.running("web").await;
    machine.write("other.yaml", &tenant("other", "", "IfNotPresent"));
    machine.running("other").await;
    assert_eq!(machine.fake.count("PullImage"), 1);
}

#[tokio::test]
async fn a_preloaded_image_is_shown_credentials_for_where_everything_is_verified() {
    let mut machine = Machine::new();
    machine.verification = Some(Verification::Always);
    machine.start().await;
    let never = manifest("web", "", &["name: c, image: 'demo:1', imagePullPolicy: Never"]);
    machine.write("web.yaml", &never);
    let reported = machine
        .pod_told("web", "the refusal", |pod| {
            state(pod, "c") == "Waiting: ErrImageNeverPull"
        })
        .await;
    let why = "Container image \"demo:1\" is not present with pull policy of Never";
    assert_eq!(message(&reported, "c"), why);
}
