//! ConfigMaps and Secrets that lie in the manifests directory.

use std::path::PathBuf;

use gantry::model::memory::FailedWork;
use k8s_openapi::api::core::v1::Pod;

use crate::agent::{Machine, full_name, manifest, message, simple, state};

fn config_map(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{index.html: {value}, other: same}}\n"
    )
}

/// A pod that shows the ConfigMap `page` as files.
fn with_files() -> String {
    manifest(
        "web",
        "volumes: [{name: v, configMap: {name: page}}]",
        &["name: c, image: demo:1, volumeMounts: [{name: v, mountPath: /v}]"],
    )
}

fn file(machine: &Machine, pod: &Pod, name: &str) -> PathBuf {
    let uid = pod.metadata.uid.as_deref().unwrap();
    let volume = machine
        .at
        .pods()
        .join(uid)
        .join("volumes/kubernetes.io~configmap/v");
    volume.join(name)
}

fn environment(machine: &Machine) -> Vec<String> {
    let world = machine.fake.world();
    let (_, container) = world.container("c").unwrap();
    let envs = container.config.envs.iter();
    envs.map(|env| format!("{}={}", env.key, env.value)).collect()
}

#[tokio::test]
async fn a_change_of_a_config_map_reaches_the_files_and_restarts_nothing() {
    let mut machine = Machine::started().await;
    machine.write(
        "web.yaml",
        &format!("{}---\n{}", config_map("page", "one"), with_files()),
    );
    let pod = machine.running("web").await;
    let index = file(&machine, &pod, "index.html");
    let shows = |text: &'static str| {
        let index = index.clone();
        move |_: &Machine| std::fs::read_to_string(&index).is_ok_and(|seen| seen == text)
    };
    assert!(shows("one")(&machine));
    machine.write(
        "web.yaml",
        &format!("{}---\n{}", config_map("page", "two"), with_files()),
    );
    machine.until("the new page", shows("two")).await;
    // What it shows stays when the ConfigMap is gone, and over a restart of the agent.
    machine.write("web.yaml", &with_files());
    machine.kill().await;
    machine.start().await;
    machine.running("web").await;
    assert!(shows("two")(&machine));
    machine.write("page.yaml", &config_map("page", "three"));
    machine.until("the third page", shows("three")).await;
    assert_eq!(machine.fake.count("CreateContainer"), 1);
    assert_eq!(machine.fake.count("StopContainer"), 0);
}

#[tokio::test]
async fn a_config_map_that_is_missing_holds_its_pod_alone() {
    let machine = Machine::started().await;
    machine.write("web.yaml", &with_files());
    let failure = |machine: &Machine| {
        let memory = machine.memory();
        let failures = &memory.pods.get(&full_name("web"))?.failures;
        let error = &failures.get(&FailedWork::Volume("v".to_owned()))?.error;
        Some((error.reason, error.message.clone()))
    };
    let said = (
        "FailedMount",
        "MountVolume.SetUp failed for volume \"v\" : configmap \"page\" not found".to_owned(),
    );
    machine
        .until("the failure", |machine| failure(machine).as_ref() == Some(&said))
        .await;
    machine.write("other.yaml", &simple("other"));
    machine.running("other").await;
    assert_eq!(machine.fake.world().sandboxes.len(), 1);
    machine.write("page.yaml", &config_map("page", "here"));
    let pod = machine.running("web").await;
    let seen = std::fs::read_to_string(file(&machine, &pod, "index.html")).unwrap();
    assert_eq!(seen, "here");
}

#[tokio::test]
async fn the_environment_waits_for_what_it_refers_to_and_then_does_not_change() {
    let machine = Machine::started().await;
    let env = "env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}, {name: URL, value: 'http://$(IP)/'}, \
               {name: PASSWORD, valueFrom: {secretKeyRef: {name: s, key: password}}}]";
    machine.write(
        "web.yaml",
        &manifest(
            "web",
            "",
            &[&format!("name: c, image: demo:1, args: ['$(URL)'], {env}")],
        ),
    );
    let waits = |text: &'static str| {
        move |pod: &Pod| state(pod, "c") == "Waiting: CreateContainerConfigError" && message(pod, "c") == text
    };
    machine
        .pod_told("web", "no secret", waits("secret \"s\" not found"))
        .await;
    let secret =
        |data: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{{data}}}\n");
    machine.write("s.yaml", &secret("user: u"));
    let no_key = waits("couldn't find key password in Secret default/s");
    machine.pod_told("web", "no key", no_key).await;
    machine.write("s.yaml", &secret("password: hunter2"));
    let pod = machine.running("web").await;
    let ip = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.clone())
        .unwrap();
    let want = [
        format!("IP={ip}"),
        format!("URL=http://{ip}/"),
        "PASSWORD=hunter2".to_owned(),
    ];
    assert_eq!(environment(&machine), want);
    assert_eq!(
        machine.fake.world().container("c").unwrap().1.config.args,
        [format!("http://{ip}/")]
    );
    assert!(!format!("{:?}", machine.memory()).contains("hunter2"));
    machine.write("s.yaml", &secret("password: other"));
    // Seen as the agent has seen the pod that comes after it.
    machine.write("z.yaml", &simple("z"));
    machine.running("z").await;
    assert_eq!(machine.fake.count("CreateContainer"), 2);
    assert_eq!(machine.fake.count("StopContainer"), 0);
}
