//! Storage drivers on a node of an API server: what it has of them, and what they are told.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::agent::Machine;

use super::plugin::Plugin;

const NAME: &str = "csi.example.com";
const NODE_IDS: &str = "csi.volume.kubernetes.io/nodeid";

fn socket(machine: &Machine) -> PathBuf {
    machine.at.root.path().join("plugins_registry/a.sock")
}

/// What the API server has of the drivers: their entries, and the annotation and the labels of the Node.
fn written(machine: &Machine) -> Option<(Value, Value, Value)> {
    let csi_node = machine.api().get("csinodes", "node")?;
    let node = machine.api().get("nodes", "node")?;
    let metadata = &node["metadata"];
    let label = metadata["labels"][format!("topology.{NAME}/node")].clone();
    Some((
        csi_node["spec"]["drivers"].clone(),
        metadata["annotations"][NODE_IDS].clone(),
        label,
    ))
}

fn entry() -> Value {
    json!({"name": NAME, "nodeID": "n1", "topologyKeys": [format!("topology.{NAME}/node")]})
}

async fn has_object(machine: &Machine) {
    machine
        .until("there is a CSINode", |machine| written(machine).is_some())
        .await;
}

#[tokio::test]
async fn a_driver_is_in_the_api_as_long_as_its_socket_is_there() {
    let machine = Machine::joined().await;
    has_object(&machine).await;
    let uid = |machine: &Machine| machine.api().get("nodes", "node").unwrap()["metadata"]["uid"].clone();
    let made = machine.api().get("csinodes", "node").unwrap();
    assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], uid(&machine));
    let plugin = Plugin::start(&socket(&machine), NAME);
    // It is told when the API server has it.
    assert_eq!(plugin.told(1).await, [(true, String::new())]);
    let ids = json!(format!("{{\"{NAME}\":\"n1\"}}"));
    assert_eq!(written(&machine).unwrap(), (json!([entry()]), ids, json!("n1")));
    drop(plugin);
    let gone = (json!([]), Value::Null, json!("n1"));
    machine
        .until("it is gone", |machine| written(machine).unwrap() == gone)
        .await;
}

#[tokio::test]
async fn a_driver_is_not_told_before_the_api_server_is_back() {
    let machine = Machine::joined().await;
    has_object(&machine).await;
    machine.api().set_away(true);
    let plugin = Plugin::start(&socket(&machine), NAME);
    plugin
        .wait("it was asked", |content| {
            content.calls.contains(&"NodeGetCapabilities")
        })
        .await;
    let asked = machine.api().count("PATCH /api/v1/nodes/node");
    machine
        .until("the Node was to be changed", |machine| {
            machine.api().count("PATCH /api/v1/nodes/node") > asked
        })
        .await;
    assert_eq!(plugin.content().told, []);
    machine.api().set_away(false);
    assert_eq!(plugin.told(1).await, [(true, String::new())]);
    assert_eq!(written(&machine).unwrap().0, json!([entry()]));
}

#[tokio::test]
async fn a_driver_that_contradicts_a_label_of_the_node_is_told_so_until_the_label_is_gone() {
    let machine = Machine::joined().await;
    has_object(&machine).await;
    let key = format!("topology.{NAME}/node");
    machine
        .api()
        .mark_node(json!({"metadata": {"labels": {&key: "n2"}}}));
    let plugin = Plugin::start(&socket(&machine), NAME);
    let why = format!(
        "RegisterPlugin error -- plugin registration failed with err: error updating Node object with CSI driver node \
         info: error updating node: detected topology value collision: driver reported \"{key}\":\"n1\" but existing \
         label is \"{key}\":\"n2\""
    );
    assert_eq!(plugin.told(1).await, [(false, why)]);
    assert_eq!(written(&machine).unwrap(), (json!([]), Value::Null, json!("n2")));
    machine
        .api()
        .mark_node(json!({"metadata": {"labels": {&key: null}}}));
    plugin
        .wait("it is told", |content| {
            content.told.last() == Some(&(true, String::new()))
        })
        .await;
    assert_eq!(written(&machine).unwrap().0, json!([entry()]));
}

#[tokio::test]
async fn a_driver_is_told_that_the_api_server_refuses_its_entry() {
    let machine = Machine::joined().await;
    has_object(&machine).await;
    machine.api().set_forbidden("csinodes", true);
    let plugin = Plugin::start(&socket(&machine), NAME);
    let why = "RegisterPlugin error -- plugin registration failed with err: error updating CSINode object with CSI driver \
               node info: error updating CSINode: Forbidden";
    assert_eq!(plugin.told(1).await, [(false, why.to_owned())]);
    machine.api().set_forbidden("csinodes", false);
    plugin
        .wait("it is told", |content| {
            content.told.last() == Some(&(true, String::new()))
        })
        .await;
    assert_eq!(written(&machine).unwrap().0, json!([entry()]));
}

#[tokio::test]
async fn the_object_of_a_node_that_is_made_again_is_made_again() {
    let machine = Machine::joined().await;
    has_object(&machine).await;
    let plugin = Plugin::start(&socket(&machine), NAME);
    plugin.told(1).await;
    let before = machine.api().get("csinodes", "node").unwrap()["metadata"]["uid"].clone();
    machine.api().remove("nodes", "node");
    machine
        .until("it belongs to the new Node", |machine| {
            let uid = machine
                .api()
                .get("nodes", "node")
                .map(|node| node["metadata"]["uid"].clone());
            let csi_node = machine.api().get("csinodes", "node");
            let owner = csi_node.map(|made| made["metadata"]["ownerReferences"][0]["uid"].clone());
            uid.is_some() && owner == uid && written(machine).unwrap().0 == json!([entry()])
        })
        .await;
    let after = machine.api().get("csinodes", "node").unwrap()["metadata"]["uid"].clone();
    assert_ne!(before, after);
}

#[tokio::test]
async fn what_the_api_server_has_of_a_driver_survives_a_killed_agent() {
    let mut machine = Machine::joined().await;
    has_object(&machine).await;
    let plugin = Plugin::start(&socket(&machine), NAME);
    plugin.told(1).await;
    machine.kill().await;
    let version = |machine: &Machine| {
        let made = machine.api().get("csinodes", "node").unwrap();
        made["metadata"]["resourceVersion"].clone()
    };
    let before = version(&machine);
    machine.start().await;
    assert_eq!(plugin.told(2).await[1], (true, String::new()));
    assert_eq!(version(&machine), before);
    // Gone while no agent ran.
    machine.kill().await;
    drop(plugin);
    machine.start().await;
    machine
        .until("it is gone", |machine| written(machine).unwrap().0 == json!([]))
        .await;
}
