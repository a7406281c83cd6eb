//! What people see of volumes: `gantry get volumes` and `gantry describe pod`.

use gantry::command::client::Client;
use gantry::command::{describe, get, get_volumes};
use jiff::Timestamp;
use serde_json::Value;
use tonic::Code;

use super::plugin::Plugin;
use crate::agent::{DEADLINE, Machine};
use crate::served;

const NAME: &str = "csi.example.com";
pub(super) const POD: &str = r#"apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {key: value}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  volumes:
  - {name: scratch, emptyDir: {}}
  - {name: conf, configMap: {name: settings}}
  - {name: driven, csi: {driver: csi.example.com}}
  - {name: lone, emptyDir: {}}
  containers:
  - name: c
    image: demo:1
    volumeMounts:
    - {name: scratch, mountPath: /scratch}
    - {name: conf, mountPath: /conf, subPath: key}
    - {name: driven, mountPath: /driven}
"#;

async fn get(client: &Client, names: &[&str], output: get::Output) -> String {
    let options = get_volumes::Options {
        pods: names.iter().map(|&name| name.to_owned()).collect(),
        output,
        ..get_volumes::Options::default()
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    get_volumes::run(client, &options, Timestamp::now(), &mut out, &mut err)
        .await
        .unwrap();
    String::from_utf8([out, err].concat()).unwrap()
}

/// The volumes as they are listed.
async fn listed(client: &Client) -> Vec<Value> {
    let text = get(client, &[], get::Output::Json).await;
    let list: Value = serde_json::from_str(&text).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// Waits until the volume of this name is listed so.
pub(super) async fn volume(client: &Client, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(5));
        loop {
            looks.tick().await;
            let all = listed(client).await;
            if let Some(found) = all.into_iter().find(|one| one["name"] == name && is_so(one)) {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(DEADLINE, waiting).await;
    match found {
        Ok(found) => found,
        Err(_) => panic!("waited for {name}; {:#?}", listed(client).await),
    }
}

pub(super) fn start_plugin(machine: &Machine) -> Plugin {
    let registry = machine.at.root.path().join("plugins_registry");
    std::fs::create_dir_all(&registry).unwrap();
    Plugin::start(&registry.join("a.sock"), NAME)
}

#[tokio::test]
async fn volumes_are_listed_with_times_that_outlive_the_agent() {
    let mut machine = Machine::started().await;
    let _plugin = start_plugin(&machine);
    let client = served::client(&machine);
    assert_eq!(
        get(&client, &[], get::Output::Table).await,
        "No resources found\n"
    );
    let began = Timestamp::now();
    machine.write("web.yaml", POD);
    machine.running("web").await;
    let before = listed(&client).await;
    let seen: Vec<[&str; 4]> = before
        .iter()
        .map(|one| ["name", "kind", "state", "path"].map(|key| one[key].as_str().unwrap_or_default()))
        .map(|[name, kind, state, path]| [name, kind, state, path.rsplit("/volumes/").next().unwrap()])
        .collect();
    let want = [
        [
            "scratch",
            "emptyDir",
            "Mounted",
            "kubernetes.io~empty-dir/scratch",
        ],
        ["conf", "configMap", "Mounted", "kubernetes.io~configmap/conf"],
        [
            "driven",
            "csi/csi.example.com",
            "Mounted",
            "kubernetes.io~csi/driven/mount",
        ],
        ["lone", "emptyDir", "Unused", "kubernetes.io~empty-dir/lone"],
    ];
    assert_eq!(seen, want);
    for volume in before.iter().filter(|one| one["state"] == "Mounted") {
        let since: Timestamp = volume["since"].as_str().unwrap().parse().unwrap();
        // The time of a file is that of the kernel's last tick.
        let tick = jiff::SignedDuration::from_millis(20);
        assert!(since + tick >= began && since <= Timestamp::now(), "{volume}");
    }
    let table = get(&client, &["web"], get::Output::Table).await;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 5, "{table}");
    assert!(lines[0].starts_with("POD        VOLUME    KIND"), "{table}");
    let options = describe::Options {
        what: describe::What::Pods(vec!["web".to_owned()]),
        namespace: None,
    };
    let mut out = Vec::new();
    describe::run(&client, &options, Timestamp::now(), &mut out)
        .await
        .unwrap();
    let description = String::from_utf8(out).unwrap();
    assert!(
        description.contains("Mounted At:  c:/conf (ro,path=\"key\")"),
        "{description}"
    );
    assert_eq!(description.matches("      Since: ").count(), 3, "{description}");

    machine.kill().await;
    machine.start().await;
    machine.running("web").await;
    assert_eq!(listed(&served::client(&machine)).await, before);
}

#[tokio::test]
async fn a_volume_whose_driver_hangs_says_what_it_waits_for_and_is_shown_until_it_is_gone() {
    let mut machine = Machine::started().await;
    let plugin = start_plugin(&machine);
    plugin.content().hangs.insert("NodePublishVolume");
    machine.write("web.yaml", POD);
    let waits = |one: &Value| one["state"] == "Waiting";
    let message = "waiting for NodePublishVolume of driver csi.example.com";
    let client = served::client(&machine);
    plugin
        .wait("it is asked", |content| !content.published.is_empty())
        .await;
    assert_eq!(volume(&client, "driven", waits).await["message"], message);
    // The others are not held up.
    volume(&client, "conf", |one| one["state"] == "Mounted").await;
    machine.kill().await;
    machine.start().await;
    let client = served::client(&machine);
    assert_eq!(volume(&client, "driven", waits).await["message"], message);
    machine.kill().await;

    plugin.content().hangs.clear();
    machine.start().await;
    machine.running("web").await;
    plugin.content().hangs.insert("NodeUnpublishVolume");
    machine.delete("web.yaml");
    let client = served::client(&machine);
    let goes = volume(&client, "driven", |one| {
        one["state"] == "Removing" && one["message"] != "the pod is being removed"
    });
    let message = "waiting for NodeUnpublishVolume of driver csi.example.com";
    assert_eq!(goes.await["message"], message);
}

#[tokio::test]
async fn a_volume_that_is_staged_for_no_pod_says_why() {
    let mut machine = Machine::new();
    let dir = machine
        .at
        .root
        .path()
        .join("plugins/kubernetes.io/csi/csi.example.com/sum");
    std::fs::create_dir_all(&dir).unwrap();
    let data = r#"{"driverName":"csi.example.com","volumeHandle":"lost"}"#;
    std::fs::write(dir.join("vol_data.json"), data).unwrap();
    machine.start().await;
    let client = served::client(&machine);
    let says = |message: &'static str| {
        move |one: &Value| {
            let text = one["message"].as_str().unwrap_or_default();
            one["state"] == "Staged" && text.contains(message)
        }
    };
    volume(&client, "lost", says("driver csi.example.com is not registered")).await;
    let registry = machine.at.root.path().join("plugins_registry");
    let prepared = machine.at.root.path().join("prepared.sock");
    let plugin = Plugin::start(&prepared, NAME);
    let failure = (Code::Internal, "the device is busy");
    plugin.content().fails.insert("NodeUnstageVolume", failure);
    std::fs::rename(&prepared, registry.join("a.sock")).unwrap();
    let lost = volume(&client, "lost", says("cannot unstage")).await;
    assert!(
        lost["message"].as_str().unwrap().ends_with("the device is busy"),
        "{lost}"
    );
    assert!(lost.get("pod").is_none());
    let table = get(&client, &[], get::Output::Wide).await;
    assert!(table.contains("<none>   lost"), "{table}");
}
